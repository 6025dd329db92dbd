"""What more resolution buys, and what it costs."""
from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, init_default_scope

from mmvitlin.analysis.figures import plt, save
from mmvitlin.analysis.fresh import in_fresh_process
from mmvitlin.analysis.latency import peak_memory
from mmvitlin.analysis.size_iou import GROUPS, SizeIoU
from mmvitlin.datasets.checking import READING_STEPS


def labelled_images(cfg: Config) -> Iterator[tuple[str, np.ndarray]]:
    """(image file, labels (H, W)) of a config's test set, at the labels' own size."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, pipeline=[]))
    load = Compose([s for s in cfg.test_dataloader.dataset.pipeline
                    if s['type'].split('.')[-1] in READING_STEPS])
    for n in range(len(dataset)):
        sample = load(dataset.get_data_info(n))
        yield sample['img_path'], sample['gt_seg_map']


def resolution_curve(config: str, checkpoint: str, scales: Sequence[float],
                     options: dict | None = None, limit: int | None = None,
                     device: str | None = None, precision: str = 'fp32', thin: float = 8 / 1024,
                     small: float = 64 / 1024, progress: Callable[[str], None] = print
                     ) -> list[dict]:
    """Evaluate one checkpoint at several input sizes.

    Args:
        config: Config of the segmentor; its test set is used.
        checkpoint: What training with it wrote.
        scales: Factors on each image's own size.
        options: ``--cfg-options``.
        limit: Images at most.
        device: See :class:`mmvitlin.apis.SegInferencer`.
        precision: Likewise.
        thin: See :class:`SizeIoU`.
        small: Likewise.
        progress: Told each result in a line.

    Returns:
        For each scale: 'scale', 'miou', 'large', 'small', 'thin' (percent), 'per_class', 'ms'
        (median of an image, reading it left out), 'peak_mib' (above the loaded model, largest
        image, fresh process), 'pixels' (median, of what the network sees) and 'images'.
    """
    from mmvitlin.apis import SegInferencer
    rows = []
    for scale in scales:
        infer = SegInferencer(config, checkpoint, device, precision, scale, cfg_options=options)
        iou, times, sizes = SizeIoU(len(infer.classes), thin, small), [], []
        largest = None
        for path, labels in itertools.islice(labelled_images(infer.cfg), limit):
            _, data = infer.read(path)
            start = time.perf_counter()
            predicted = infer.predict(data)
            times.append(1e3 * (time.perf_counter() - start))
            iou.add(predicted, labels)
            sizes.append(int(np.prod(data['inputs'].shape[-2:])))
            largest = path if sizes[-1] == max(sizes) else largest
        peak = in_fresh_process(_peak, config, checkpoint, device, precision, scale, options,
                                str(largest))
        rows.append(dict(scale=scale, miou=iou.overall(), **iou.result(),
                         per_class=iou.per_class(), ms=round(float(np.median(times)), 1),
                         peak_mib=peak, pixels=int(np.median(sizes)), images=len(times)))
        progress(f"  scale {scale:g}: mIoU {rows[-1]['miou']:.1f}, " +
                 ', '.join(f'{g} {rows[-1][g]:.1f}' for g in GROUPS) +
                 f", {rows[-1]['ms']:.0f} ms, {peak:.0f} MiB")
    return rows


def _peak(config: str, checkpoint: str, device: str | None, precision: str, scale: float,
          options: dict | None, path: str) -> float:
    """Peak MiB of one image, above the loaded model."""
    from mmvitlin.apis import SegInferencer
    infer = SegInferencer(config, checkpoint, device, precision, scale, cfg_options=options)
    _, data = infer.read(path)
    return round(peak_memory(partial(infer.predict, data), infer.device), 1)


def curve_figure(rows: Sequence[dict], path: str | Path) -> Path:
    """mIoU by size of object, latency and memory against the pixels the network sees."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8))
    pixels = [row['pixels'] for row in rows]
    ticks = [f"{row['scale']:g}×\n{row['pixels'] / 1e6:.2g} MP" for row in rows]
    for name, colour in (('miou', '#333333'), ('large', '#0072b2'), ('small', '#d55e00'),
                         ('thin', '#009e73')):
        axes[0].plot(pixels, [row[name] for row in rows], 'o-', color=colour,
                     label='all' if name == 'miou' else name)
    axes[0].set(ylabel='mIoU (%)', title='accuracy by size of object')
    axes[0].legend()
    for axis, key, label in ((axes[1], 'ms', 'time of an image (ms)'),
                             (axes[2], 'peak_mib', 'peak memory (MiB)')):
        axis.plot(pixels, [row[key] for row in rows], 'o-', color='#333333')
        axis.set(yscale='log', ylabel=label, title=label)
    for axis in axes:
        axis.set(xscale='log', xlabel='scale and size of the input')
        axis.set_xticks(pixels, ticks, fontsize=8)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    figure.tight_layout()
    return save(figure, path)
