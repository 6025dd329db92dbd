"""What more resolution buys, and what it costs."""
from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, init_default_scope

from mmvitlin.analysis.figures import plt, save
from mmvitlin.analysis.size_iou import GROUPS, SizeIoU
from mmvitlin.engine.launch import load_config

_LOADING = ('LoadImage', 'LoadImageFromFile', 'LoadAnnotations', 'LoadSegLabels')


def labelled_images(config: str, options: dict | None = None, limit: int | None = None):
    """(image file, labels (H, W)) of a config's test set, at the labels' own size."""
    cfg = load_config(config, options)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, pipeline=[]))
    load = Compose([s for s in cfg.test_dataloader.dataset.pipeline
                    if s['type'].split('.')[-1] in _LOADING])
    for n in range(min(len(dataset), limit or len(dataset))):
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
        for path, labels in labelled_images(config, options, limit):
            _, data = infer.read(path)
            start = time.perf_counter()
            predicted = infer.predict(data)
            times.append(1e3 * (time.perf_counter() - start))
            iou.add(predicted, labels)
            sizes.append(int(np.prod(data['inputs'].shape[-2:])))
            largest = path if sizes[-1] == max(sizes) else largest
        peak = _peak(config, checkpoint, device, precision, scale, options, str(largest))
        rows.append(dict(scale=scale, miou=iou.overall(), **iou.result(),
                         per_class=iou.per_class(), ms=round(float(np.median(times)), 1),
                         peak_mib=peak, pixels=int(np.median(sizes)), images=len(times)))
        progress(f"  scale {scale:g}: mIoU {rows[-1]['miou']:.1f}, " +
                 ', '.join(f'{g} {rows[-1][g]:.1f}' for g in GROUPS) +
                 f", {rows[-1]['ms']:.0f} ms, {peak:.0f} MiB")
    return rows


_PROBE = '''
import json, sys
from mmvitlin.analysis.latency import peak_memory
from mmvitlin.apis import SegInferencer
config, checkpoint, device, precision, scale, options, path = json.loads(sys.argv[1])
infer = SegInferencer(config, checkpoint, device, precision, scale, cfg_options=options)
_, data = infer.read(path)
print(peak_memory(lambda: infer.predict(data), infer.device))
'''


def _peak(*arguments) -> float:
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', _PROBE, json.dumps(arguments)],
                          capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'the memory probe failed: {done.stderr.strip().splitlines()[-1:]}')
    return round(float(done.stdout.strip().splitlines()[-1]), 1)


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
