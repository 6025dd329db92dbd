"""Means over shifts of the scores of :mod:`mmvitlin.evaluation.robustness`, and their figure."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmvitlin.evaluation.robustness import SEVERITIES
from mmvitlin.visualization.figures import COLOURS, plt, save

_NO_CORRUPTION = ('', 'scale', 'centre', 'share')


def shared_conditions(results: dict[str, dict[str, float]]) -> list[str]:
    """Conditions under which every network was scored; networks without a clean score are left
    out."""
    begun = [scores for scores in results.values() if 'clean' in scores]
    return [n for n in begun[0] if all(n in scores for scores in begun)] if begun else []


def summarise(results: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Means over the conditions that all networks have.

    Args:
        results: Network → condition → score.

    Returns:
        Network → 'clean', and for each kind of shift its mean score and the part of the score
        without it that is lost, in percent: ``<kind>`` and ``<kind> drop``. A corruption is a kind
        too. For 'share' the score without it is 'centre', for all others 'clean'.
    """
    shared = shared_conditions(results)
    return {net: _summary({n: scores[n] for n in shared}) for net, scores in results.items()
            if 'clean' in scores}


def _summary(scores: dict[str, float]) -> dict[str, float]:
    groups: dict[str, list[tuple[float, float]]] = {}  # with the shift, and without
    for name, score in scores.items():
        kind, _, value = name.rpartition(' ')
        without = scores.get(f'centre {value}') if kind == 'share' else scores['clean']
        if kind in ('', 'centre') or without is None:
            continue
        groups.setdefault(kind, []).append((score, without))
        if kind not in _NO_CORRUPTION:
            groups.setdefault('corruption', []).append((score, without))
    means = dict(clean=scores['clean'])
    for kind, pairs in groups.items():
        score, without = np.mean(pairs, axis=0)
        means[kind] = round(float(score), 2)
        means[f'{kind} drop'] = round(float(100 * (1 - score / max(without, 1e-9))), 2)
    return means


def over_seeds(rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Means of the rows that are called NAME/SEED, by NAME."""
    groups: dict[str, list] = {}
    for name, row in rows.items():
        groups.setdefault(name.rpartition('/')[0] or name, []).append(row)
    return {name: {key: float(np.mean([row[key] for row in group])) for key in group[0]}
            for name, group in groups.items()}


def robustness_figure(results: dict[str, dict[str, float]], path: str | Path) -> Path:
    """Mean over corruptions against severity, and the drop by corruption, of several networks, over
    the conditions that all of them have; the seeds of a network, called NAME/SEED, are averaged."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.2), width_ratios=(1, 2))
    shared, summary = shared_conditions(results), over_seeds(summarise(results))
    results = over_seeds({net: {n: scores[n] for n in shared} for net, scores in results.items()
                          if 'clean' in scores})
    kinds = sorted({n.rpartition(' ')[0] for n in shared} - {*_NO_CORRUPTION})
    levels = [n for n in SEVERITIES if any(f'{k} {n}' in shared for k in kinds)]
    for column, (net, row) in enumerate(summary.items()):
        colour, scores = COLOURS.get(net), results[net]
        means = [np.mean([scores[f'{k} {n}'] for k in kinds if f'{k} {n}' in shared])
                 for n in levels]
        left.plot([0, *levels], [scores['clean'], *means], 'o-', label=net, color=colour)
        places = np.arange(len(kinds)) + 0.8 * column / len(summary)
        right.bar(places, [row.get(f'{k} drop', np.nan) for k in kinds],
                  width=0.8 / len(summary), label=net, color=colour, align='edge')
    left.set(xlabel='severity (0: clean)', ylabel='score (%)', title='mean over corruptions')
    left.grid(alpha=0.3)
    left.legend()
    right.set(ylabel='part of the clean score lost (%)', title='by corruption, mean of severities')
    right.set_xticks(np.arange(len(kinds)) + 0.4, [k.replace('_', ' ') for k in kinds],
                     fontsize=8, rotation=30, ha='right')
    right.grid(alpha=0.3, axis='y')
    figure.tight_layout()
    return save(figure, path)
