"""Figures of the site's page of results."""
import re
from pathlib import Path

import matplotlib
import question_figures as questions
from accuracy_tables import by_labels
from deployed_tables import by_runtime, fastest
from dots import dots
from scores import gaps_of, interval, spread_of
from speed_tables import by_area

from mmvitlin.experiments.recipe import load_report

matplotlib.use('Agg')
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[2]
_LONG = re.compile(r' ?\((?!the teacher).*\)| without labels|, then fine-tuned|, trained with '
                   r'labels|, as many iterations|, the same fine-tuning')


def draw(files: dict[str, dict], folder: Path) -> None:
    """All figures whose results exist, as ``site_NAME.png``."""
    for name, (needed, figure) in FIGURES.items():
        if all(file in files for file in needed.split()):
            _save(figure(*(files[file] for file in needed.split())), folder / f'site_{name}.png')


def _replaced(results: dict):
    """Score of frozen features against the number of tokens, a line for each attention."""
    figure, ax = plt.subplots(figsize=(7, 3.6), layout='constrained')
    lines: dict[str, list[tuple[int, float]]] = {}
    for key, row in results['rows'].items():
        lines.setdefault(key.split('|')[0], []).append((row['tokens'], row['miou']))
    for name, points in lines.items():
        ax.plot(*zip(*sorted(points), strict=True), marker='o', label=name,
                linestyle='--' if name == 'softmax' else '-')
    ax.set_xscale('log')
    ticks = sorted({row['tokens'] for row in results['rows'].values()})
    ax.set_xticks(ticks, [f'{n:,}' for n in ticks])
    ax.minorticks_off()
    ax.set_xlabel('tokens of an image')
    ax.set_ylabel('mIoU, linear classifier')
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8, ncols=2)
    return figure


def _peers(results: dict):
    """Time of whole networks at the largest size, each in its fastest form."""
    found = by_runtime(results, 'labels')
    size = by_area(s for _, s in found)[-1]
    times = sorted(((fastest(rows) / 1e3, net) for (net, s), rows in found.items() if s == size),
                   reverse=True)
    kinds = {'softmax ViT': ('ViT-', ), 'linear-time, of this toolkit': (
        'linear ViT-', 'focal ViT-', 'Adventurer-'), 'of others': ('', )}
    colours = dict(zip(kinds, ('#c44e52', '#4c72b0', '#8c8c8c'), strict=True))
    figure, ax = plt.subplots(figsize=(7, 0.28 * len(times) + 0.9), layout='constrained')
    for place, (seconds, net) in enumerate(times):
        kind = next(k for k, starts in kinds.items() if net.startswith(starts))
        ax.barh(place, seconds, color=colours[kind])
        ax.text(seconds + times[0][0] / 100, place, f'{seconds:.2g}', va='center', fontsize=8)
    ax.set_yticks(range(len(times)), [net for _, net in times], fontsize=8)
    ax.set_xlabel(f"seconds from an image of {size.replace('x', '×')} to its labels, fastest form")
    ax.legend([plt.Rectangle((0, 0), 1, 1, color=c) for c in colours.values()], list(colours),
              fontsize=8, loc='upper right')
    ax.set_xlim(right=1.08 * times[0][0])
    return figure


def _save(figure, path: Path) -> None:
    figure.savefig(path, dpi=110, bbox_inches='tight', pil_kwargs=dict(optimize=True),
                   metadata=dict(Software=None))
    plt.close(figure)


def _rows(results: dict) -> dict[str, str]:
    """Stage → what it is in few words, of those that were measured."""
    return {name: _LONG.sub('', text)
            for name, text in load_report(ROOT / results['recipe']).rows.items()
            if 'mean' in results['stages'].get(name, {})}


def _points(ax, labels, values, below, above) -> None:
    """A point and a bar for each row, the first at the top."""
    at = list(range(len(labels)))[::-1]
    ax.errorbar(values, at, xerr=(below, above), fmt='o', color='#0b5fa5', capsize=3)
    ax.set_yticks(at, labels)
    ax.grid(axis='x', alpha=0.3)


def _method(results: dict):
    """Scores of a method and its controls."""
    return dots({'': {text: {'': (results['stages'][name]['mean'], results['stages'][name]['std'])}
                      for name, text in _rows(results).items()}},
                'mIoU on held-out frames, mean ± standard deviation')


def _objectives(camvid: dict, cifar10: dict):
    ablations = {'CamVid, mIoU': camvid, 'CIFAR-10, top-1 accuracy': cifar10}
    figure, axes = plt.subplots(1, len(ablations), figsize=(10, 5.5), sharey=True, squeeze=False,
                                layout='constrained')
    for ax, (title, results) in zip(axes[0], ablations.items(), strict=True):
        reference, spread = results['stages']['distilled-both'], spread_of(results)
        rows = {name: text for name, text in _rows(results).items()
                if name not in ('distilled-both', 'teacher')}
        means, bounds = [], []
        for stage in (results['stages'][name] for name in rows):
            gaps = gaps_of(stage, reference)
            means.append(sum(gaps) / len(gaps))
            bounds.append(interval(stage, reference, spread) or (means[-1], means[-1]))
        _points(ax, list(rows.values()), means,
                [mean - low for mean, (low, _) in zip(means, bounds, strict=True)],
                [high - mean for mean, (_, high) in zip(means, bounds, strict=True)])
        ax.axvline(0, color='#888888', linewidth=1)
        ax.set(title=title, xlabel='points above ViT-Linearizer')
    return figure


def _few_labels(results: dict):
    names, columns = by_labels(results)
    figure, ax = plt.subplots(figsize=(7, 5.5), layout='constrained')
    for way, text in names.items():
        counts = [count for count in sorted(columns) if way in columns[count]]
        scores = [columns[count][way] for count in counts]
        ax.errorbar(counts, [row['mean'] for row in scores], yerr=[row['std'] for row in scores],
                    marker='o', capsize=3, label=text)
    ax.set_xscale('log')
    ax.set_xticks(sorted(columns), [str(count) for count in sorted(columns)])
    ax.minorticks_off()
    ax.set(xlabel='labelled frames', ylabel='mIoU, mean ± standard deviation')
    ax.grid(alpha=0.3)
    figure.legend(fontsize=8, loc='outside lower left', frameon=False)
    return figure


FIGURES = {  # name → results files, and what draws them
    'inherited': ('pretrained_camvid', questions.inherited),
    'random_students': ('pretrained_camvid', questions.random_students),
    'students': ('students_camvid students_speed', questions.students),
    'attentions': ('attention_speed', questions.attentions),
    'deployed': ('deployed_cpu', questions.deployed),
    'int8': ('reduced_precision', questions.reduced_precision),
    'heads': ('camvid_heads heads_speed', questions.heads),
    'full_size': ('highres_camvid', questions.full_size),
    'lengths': ('camvid_lengths', questions.full_size),
    'detection': ('detection_streets', questions.detection),
    'teacher_cost': ('cheaper_teacher', questions.teacher_cost),
    'linearizer': ('camvid', _method),
    'adala': ('adala_camvid', _method),
    'objectives': ('camvid_ablation cifar10_ablation', _objectives),
    'replaced': ('replaced_attention', _replaced),
    'few_labels': ('camvid_few_labels', _few_labels),
    'peers': ('peers_cpu', _peers)}
