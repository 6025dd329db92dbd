"""Figures of runs: curves, times, overlays."""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use('Agg')
from matplotlib import pyplot as plt

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


def read_scalars(folder: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Logged scalars of the newest run in a work directory: name → (iteration, value)."""
    files = sorted(Path(folder).glob('*/vis_data/scalars.json'))
    series: dict[str, list[tuple[int, float]]] = {}
    for file in files:
        for line in file.read_text().splitlines():
            row = json.loads(line)
            step = row.get('iter', row.get('step'))
            for name, value in row.items():
                if isinstance(value, (int, float)) and step is not None:
                    series.setdefault(name, []).append((step, value))
    return series


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

    Args:
        table: From :func:`mmvitlin.analysis.latency.backbone_latency`.
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
    axis.set(xscale='log', yscale='log', xlabel='tokens', ylabel='latency of the backbone (ms)')
    axis.set_xticks(tokens, [f'{t:,}\n{s}' for t, s in zip(tokens, table, strict=True)], fontsize=8)
    axis.minorticks_off()
    axis.grid(alpha=0.3, which='both')
    axis.legend()
    return save(figure, path)


def overlay_figure(images: Sequence[np.ndarray], maps: dict[str, Sequence[np.ndarray]],
                   palette: Sequence[Sequence[int]], path: str | Path) -> Path:
    """Image and label maps in a grid, one row an image.

    Args:
        images: (H, W, 3) uint8, RGB.
        maps: Column name → label maps (H, W); 255 is drawn black.
        palette: RGB of each class.
        path: Where to write.
    """
    colours = np.zeros((256, 3), np.uint8)
    colours[:len(palette)] = palette
    columns = ['image', *maps]
    height, width = images[0].shape[:2]
    figure, axes = plt.subplots(len(images), len(columns), squeeze=False,
                                figsize=(3.4 * len(columns), 3.4 * len(images) * height / width))
    for r, image in enumerate(images):
        for c, name in enumerate(columns):
            axis = axes[r, c]
            shown = image if name == 'image' else \
                (0.3 * image + 0.7 * colours[maps[name][r]]).astype(np.uint8)
            axis.imshow(shown)
            axis.axis('off')
            if r == 0:
                axis.set_title(name, fontsize=11)
    figure.subplots_adjust(wspace=0.02, hspace=0.02)
    return save(figure, path)
