"""Figures of runs: curves and times."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.machine import undisturbed
from mmvitlin.utils.optional import OptionalModule
from mmvitlin.visualization.logs import read_scalars

plt = OptionalModule('matplotlib.pyplot', 'experiments', lambda m: m.switch_backend('Agg'))
COLOURS = {'teacher': '#555555', 'student': '#0072b2', 'distilled': '#0072b2',
           'aligned': '#0072b2', 'scratch': '#d55e00', 'dropped_in': '#d55e00',
           'scratch_long': '#e69f00', 'distill': '#009e73', 'align_attention': '#56b4e9',
           'align_feature': '#009e73'}


def save(figure, path: str | Path) -> Path:
    """Write a figure and close it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches='tight')
    plt.close(figure)
    return path


def curves(runs: dict[str, dict[str, list[tuple[int, float]]]], keys: Sequence[str],
           path: str | Path) -> Path:
    """Logged scalars of runs against iterations, one panel a key.

    Args:
        runs: Name → what :func:`read_scalars` gave.
        keys: Names of scalars.
        path: Where to write.

    Raises:
        ConfigError: a key that no run logged.
    """
    figure, axes = plt.subplots(1, len(keys), figsize=(5.5 * len(keys), 3.6), squeeze=False)
    for axis, key in zip(axes[0], keys, strict=True):
        if not any(key in series for series in runs.values()):
            plt.close(figure)
            known = sorted(set().union(*runs.values()))
            raise ConfigError(f"no run logged '{key}'; they logged {known}")
        for name, series in runs.items():
            if key in series:
                axis.plot(*zip(*series[key], strict=True), label=name, marker='.',
                          color=COLOURS.get(name))
        axis.set(xlabel='iteration', ylabel=key)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return save(figure, path)


def loss_curves(folders: dict[str, str | Path], unlabelled: Sequence[str], path: str | Path
                ) -> Path:
    """Training loss of each run against iterations, the ``unlabelled`` ones apart."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.6))
    for name, folder in folders.items():
        points = read_scalars(folder).get('loss', [])
        if not points:
            continue
        axis = axes[0] if name in unlabelled else axes[1]
        axis.plot(*zip(*points, strict=True), label=name.replace('_', ' '),
                  color=COLOURS.get(name))
    for axis, title in zip(axes, ('distillation, no labels', 'training with labels'), strict=True):
        axis.set(xlabel='iteration', ylabel='loss', title=title)
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=8)
    return save(figure, path)


def latency_figure(table: dict[str, dict[str, dict]], patch_size: int, path: str | Path) -> Path:
    """Median latency against tokens, log axes, with the 10–90% spread.

    Times that other processes disturbed are crossed out.

    Args:
        table: From :func:`mmvitlin.benchmark.latency.backbone_latency`.
        patch_size: To count tokens.
        path: Where to write.
    """
    figure, axis = plt.subplots(figsize=(6, 4.2))
    sides = [tuple(map(int, shape.split('x'))) for shape in table]
    tokens = [-(-h // patch_size) * -(-w // patch_size) for h, w in sides]
    for name in next(iter(table.values())):
        rows = [row[name] for row in table.values()]
        middle = [r['median'] for r in rows]
        axis.plot(tokens, middle, 'o-', label=name, color=COLOURS.get(name))
        axis.fill_between(tokens, [r['p10'] for r in rows], [r['p90'] for r in rows], alpha=0.2,
                          color=COLOURS.get(name))
    rows = [(t, row) for t, of_size in zip(tokens, table.values(), strict=True)
            for row in of_size.values()]
    if busy := [(t, row['median']) for t, row in rows if not undisturbed([row])]:
        axis.plot(*zip(*busy, strict=True), 'kx', markersize=10, label='disturbed')
    axis.set(xscale='log', yscale='log', xlabel='tokens', ylabel='latency of the backbone (ms)')
    axis.set_xticks(tokens, [f'{t:,}\n{s}' for t, s in zip(tokens, table, strict=True)], fontsize=8)
    axis.minorticks_off()
    axis.grid(alpha=0.3, which='both')
    axis.legend()
    return save(figure, path)
