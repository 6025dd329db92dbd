"""Figures of the speed benchmark."""
from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmvitlin.benchmark.trends import faster_from
from mmvitlin.utils.machine import undisturbed
from mmvitlin.utils.optional import OptionalModule
from mmvitlin.visualization.figures import plt, save

ticker = OptionalModule('matplotlib.ticker', 'experiments')

_STYLES = ('-', '--', ':', '-.')
_MOST_MARKS = 8
_COLUMNS = 3


class _Looks:
    """A colour for each network; the settings that all lines share, and those that differ."""

    def __init__(self, lines: Sequence[str]):
        self.names = list(dict.fromkeys(line.split(' · ')[0] for line in lines))
        self.ways = list(dict.fromkeys(line.split(' · ', 1)[1] for line in lines))
        parts = [way.split(' · ') for way in self.ways]
        shared = [len(set(column)) == 1 for column in zip(*parts, strict=True)]
        self.common = ' · '.join(p for p, same in zip(parts[0], shared, strict=True) if same)
        self.short = {way: ' · '.join(p for p, same in zip(words, shared, strict=True) if not same)
                      for way, words in zip(self.ways, parts, strict=True)}
        self._palette = plt.get_cmap('tab10' if len(self.names) <= 10 else 'tab20')

    def split(self, line: str) -> tuple[str, str]:
        """Network and way of a line."""
        name, way = line.split(' · ', 1)
        return name, way

    def colour(self, name: str):
        return self._palette(self.names.index(name) % self._palette.N)

    def style(self, way: str) -> str:
        return _STYLES[self.ways.index(way) % len(_STYLES)]

    def label(self, line: str) -> str:
        """As short as it can be without two lines being called alike."""
        name, way = self.split(line)
        return ' · '.join(filter(None, (name, self.short[way])))

    def legend(self, figure, styles: bool = False) -> None:
        """Networks beside the axes; with ``styles`` the ways as well."""
        handles = [plt.Line2D([], [], color=self.colour(n), marker='o', markersize=4, label=n)
                   for n in self.names]
        if styles and len(self.ways) > 1:
            handles += [plt.Line2D([], [], color='k', linestyle=self.style(w),
                                   label=self.short[w]) for w in self.ways]
        figure.legend(handles=handles, fontsize=8, loc='center left', bbox_to_anchor=(1, 0.5))


def speed_figures(lines: dict[str, list[dict]], pairs: Sequence[dict],
                limits: dict[str, dict[str, float]], folder: str | Path,
                scores: dict[str, float] | None = None) -> list[Path]:
    """Latency, memory and throughput against tokens, a roofline, and scores against latency.

    Each network has a colour, and each way of measuring it (precision, batch …) a panel.

    Args:
        lines: From :func:`mmvitlin.benchmark.trends.series`.
        pairs: From :func:`mmvitlin.benchmark.trends.pairs`; where one overtakes another is
            marked and listed, those of networks of one size (whose names end alike) first.
        limits: Name → 'flops' and 'bytes' a second.
        folder: Where latency.png, memory.png (where it was measured), throughput.png,
            roofline.png and, where there are scores, accuracy.png are written.
        scores: Network → score, such as its mIoU.
    """
    if not lines:
        return []
    looks, written = _Looks(list(lines)), []
    shapes = {r['tokens']: r['shape'] for rows in lines.values() for r in rows}
    for file, key, label in (('latency', 'ms', 'time (ms)'),
                             ('memory', 'peak_mib', 'peak memory above the loaded model (MiB)'),
                             ('throughput', 'images_per_second', 'images a second')):
        if not any(r.get(key) is not None for rows in lines.values() for r in rows):
            continue  # memory was not measured
        columns = min(len(looks.ways), _COLUMNS)
        height = -(-len(looks.ways) // columns)
        figure, axes = plt.subplots(height, columns, figsize=(1.5 + 5 * columns, 5.2 * height),
                                    squeeze=False, sharex=True, sharey=True,
                                    layout='constrained')
        for axis in axes.flat[len(looks.ways):]:
            axis.remove()
        for way, axis in zip(looks.ways, axes.flat, strict=False):
            shown = {n: rows for n, rows in lines.items() if looks.split(n)[1] == way}
            _against_tokens(axis, shown, key, looks)
            if key == 'ms':
                _mark_crossovers(axis, lines, [p for p in pairs if p['setting'] == way])
            axis.set(title=looks.short[way])
            axis.tick_params(labelbottom=True)
            _name_ticks(axis, shapes)
        for axis in axes[:, 0]:
            axis.set(ylabel=label)
        busy = any(len(undisturbed(rows)) < len(rows) for rows in lines.values())
        figure.suptitle(looks.common + (' · white: disturbed by other processes' if busy else ''),
                        fontsize=10)
        looks.legend(figure)
        written.append(save(figure, Path(folder) / f'{file}.png'))
    if limits:
        written.append(_roofline(lines, looks, limits, Path(folder) / 'roofline.png'))
    if scores:
        written.append(_accuracy(lines, looks, scores, Path(folder) / 'accuracy.png'))
    return written


def _against_tokens(axis, lines: dict[str, list[dict]], key: str, looks: _Looks) -> None:
    for line, rows in lines.items():
        rows = [r for r in rows if r.get(key) is not None]
        tokens = [r['tokens'] for r in rows]
        values = [r['ms']['median'] if key == 'ms' else r[key] for r in rows]
        colour = looks.colour(looks.split(line)[0])
        axis.plot(tokens, values, marker='o', markersize=4, color=colour)
        if key != 'peak_mib' and (busy := [n for n, r in enumerate(rows) if not undisturbed([r])]):
            axis.plot([tokens[n] for n in busy], [values[n] for n in busy], 'o', markersize=7,
                      markerfacecolor='white', color=colour)
        if key == 'ms':
            axis.fill_between(tokens, [r['ms']['p10'] for r in rows],
                              [r['ms']['p90'] for r in rows], alpha=0.2, color=colour)
    axis.set(xscale='log', yscale='log')
    axis.grid(alpha=0.3)


def _name_ticks(axis, shapes: dict[int, str]) -> None:
    """The measured sizes that are not too near to one another; 1, 2 and 5 of each decade."""
    apart: list[int] = []
    for tokens in sorted(shapes):
        if not apart or tokens > 1.5 * apart[-1]:
            apart.append(tokens)
    axis.set_xticks(apart, [f"{t:,}\n{shapes[t].replace('x', '×')}" for t in apart], fontsize=7,
                    rotation=30)
    axis.set_xlabel('tokens of 16×16 pixels, and image', fontsize=9)
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5), numticks=30))
    axis.yaxis.set_major_formatter('{x:,g}')
    axis.yaxis.set_minor_locator(ticker.NullLocator())
    axis.tick_params(axis='y', labelsize=8)


def _mark_crossovers(axis, lines: dict[str, list[dict]], pairs: Sequence[dict]) -> None:
    def of_one_size(pair: dict) -> bool:
        return len({re.split('[- ]', pair[k])[-1] for k in ('faster', 'slower')}) == 1

    crossing = [p for p in pairs if not p['always']]
    marked = sorted(crossing, key=lambda p: not of_one_size(p))
    if any(map(of_one_size, marked)):
        marked = [p for p in marked if of_one_size(p)]
    for number, pair in enumerate(marked[:_MOST_MARKS], 1):
        words = f"{number}: {pair['faster']} faster than {pair['slower']} from "
        if pair['level']:
            axis.plot([], [], ' ', label=words + faster_from(pair))
            continue
        rows = lines[f"{pair['faster']} · {pair['setting']}"]
        height = np.exp(np.interp(np.log(pair['tokens']), np.log([r['tokens'] for r in rows]),
                                  np.log([r['ms']['median'] for r in rows])))
        axis.plot(pair['tokens'], height, 'k*', markersize=8)
        axis.annotate(str(number), (pair['tokens'], height), textcoords='offset points',
                      xytext=(5, -11), fontsize=8)
        axis.plot([], [], 'k*', label=f"{words}{pair['tokens']:,} tokens")
    if left := len(crossing) - len(marked[:_MOST_MARKS]):
        axis.plot([], [], ' ', label=f"{left} more pair{'s' * (left > 1)} in the results file")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7, loc='upper center', bbox_to_anchor=(0.5, -0.34))


def _roofline(lines: dict[str, list[dict]], looks: _Looks, limits: dict[str, dict[str, float]],
              path: Path) -> Path:
    figure, axis = plt.subplots(figsize=(7.5, 5), layout='constrained')
    intensity = np.logspace(0, 4, 200)
    for name, limit in limits.items():
        roof = np.minimum(limit['flops'], intensity * limit['bytes'])
        axis.plot(intensity, roof / 1e9, '-', color='#999999')
        axis.text(intensity[-1], roof[-1] / 1e9, name, fontsize=8, ha='right', va='bottom')
    for line, rows in lines.items():
        name, way = looks.split(line)
        rows = [r for r in undisturbed(rows) if r.get('flops')]
        axis.plot([r['flops'] / r['bytes'] for r in rows],
                  [r['flops'] / r['ms']['median'] / 1e6 for r in rows], marker='o', markersize=4,
                  color=looks.colour(name), linestyle=looks.style(way))
    axis.set(xscale='log', yscale='log', xlabel='FLOPs a byte', ylabel='GFLOP/s',
             title='reached, below what this machine reaches in products and copies')
    axis.grid(alpha=0.3)
    figure.suptitle(looks.common, fontsize=10)
    looks.legend(figure, styles=True)
    return save(figure, path)


def _accuracy(lines: dict[str, list[dict]], looks: _Looks, scores: dict[str, float],
              path: Path) -> Path:
    """Scores against the time at the largest size that all were measured at undisturbed."""
    figure, axis = plt.subplots(figsize=(7, 4.5))
    scored = {k: undisturbed(v) for k, v in lines.items() if k.split(' · ')[0] in scores}
    common = set.intersection(*({r['shape'] for r in rows} for rows in scored.values())) \
        if scored else set()
    if not common:
        axis.text(0.5, 0.5, 'no size at which all of these networks were timed', ha='center')
    else:
        largest = max(common, key=lambda s: np.prod([int(n) for n in s.split('x')]))
        for name, rows in scored.items():
            row = next(r for r in rows if r['shape'] == largest)
            score = scores[name.split(' · ')[0]]
            axis.plot(row['ms']['median'], score, 'o', color=looks.colour(looks.split(name)[0]))
            axis.annotate(looks.label(name), (row['ms']['median'], score),
                          textcoords='offset points', xytext=(6, 4), fontsize=8)
        axis.set(xscale='log', xlabel=f'time at {largest} (ms)', ylabel='score')
    axis.grid(alpha=0.3)
    return save(figure, path)
