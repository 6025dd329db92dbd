"""What more resolution buys, and what it costs."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, init_default_scope

from mmvitlin.analysis.figures import plt, save
from mmvitlin.analysis.fresh import MeasurementError, in_fresh_process, is_out_of_memory
from mmvitlin.analysis.latency import peak_memory
from mmvitlin.analysis.size_iou import GROUPS, SizeIoU
from mmvitlin.datasets.checking import READING_STEPS
from mmvitlin.datasets.loading import LENIENCIES
from mmvitlin.datasets.subset import evenly
from mmvitlin.errors import UnreadableFileError, UserError


def labelled_images(cfg: Config, limit: int | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """(image file, labels (H, W)) of a config's test set, at the labels' own size; what its
    evaluator leaves out is 255. With a limit as many, evenly spread."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, pipeline=[]))
    load = Compose([{k: v for k, v in s.items() if k not in LENIENCIES}
                    for s in cfg.test_dataloader.dataset.pipeline
                    if s['type'].split('.')[-1] in READING_STEPS])
    ignored = _ignored_label(cfg)
    for n in evenly(len(dataset), limit):
        sample = load(dataset.get_data_info(n))
        labels = sample['gt_seg_map']
        yield sample['img_path'], np.where(labels == ignored, 255, labels)


def _ignored_label(cfg: Config) -> int:
    """Label that the evaluator of a config leaves out, or else its test set; 255 if neither."""
    evaluators = cfg.get('test_evaluator') or []
    for part in (*([evaluators] if isinstance(evaluators, dict) else evaluators),
                 cfg.test_dataloader.dataset):
        if part.get('ignore_index') is not None:
            return part['ignore_index']
    return 255


def resolution_curve(config: str, checkpoint: str, scales: Sequence[float],
                     options: dict | None = None, limit: int | None = None,
                     device: str | None = None, precision: str = 'fp32', thin: float = 8 / 1024,
                     small: float = 64 / 1024, progress: Callable[[str], None] = print,
                     keep: Callable[[list[dict]], None] = lambda rows: None) -> list[dict]:
    """Evaluate one checkpoint at several input sizes.

    Args:
        config: Config of the segmentor; its test set is used.
        checkpoint: What training with it wrote.
        scales: Factors on each image's own size.
        options: ``--cfg-options``.
        limit: Images at most, evenly spread over the test set.
        device: See :class:`mmvitlin.apis.SegInferencer`.
        precision: Likewise.
        thin: See :class:`SizeIoU`.
        small: Likewise.
        progress: Told each result in a line.
        keep: Given all rows after each scale.

    Returns:
        For each scale: 'scale', 'miou', 'large', 'small', 'thin' (percent, None where there is no
        such object), 'classes' (IoU by name, None for one in neither labels nor prediction),
        'per_class' (of each the IoU of its large, small and thin objects), 'ms' (median of an
        image, reading it left out), 'peak_mib' (above the loaded model, largest image, fresh
        process; None where that failed), 'pixels' (median, of what the network sees) and 'images';
        or 'scale' and 'error' for one that could not be run.

    Raises:
        UnreadableFileError: a file of the test set cannot be read.
    """
    from mmvitlin.apis import SegInferencer
    rows: list[dict] = []
    for scale in scales:
        made_of = (config, checkpoint, device, precision, scale)
        infer = SegInferencer(*made_of, cfg_options=options)
        counts = SizeIoU(len(infer.classes), thin, small)
        try:
            seen = _evaluate(infer, counts, limit)
        except UnreadableFileError:  # no scale would do
            raise
        except (UserError, MemoryError, RuntimeError) as error:
            if not isinstance(error, UserError) and not is_out_of_memory(error):
                raise
            rows.append(dict(scale=scale, error=str(error)))
            progress(f'  scale {scale:g}: {error}')
        else:
            peak, largest = None, str(seen.pop('largest'))
            try:
                peak = in_fresh_process(_peak, made_of, options, largest)
            except MeasurementError as error:
                progress(f'  scale {scale:g}: memory was not measured: {error}')
            rows.append(dict(scale=scale, **seen, peak_mib=peak))
            progress(_told(rows[-1]))
        keep(rows)
    return rows


def _evaluate(infer, counts: SizeIoU, limit: int | None) -> dict:
    """Scores and times of a test set, and its largest file."""
    times, sizes, largest = [], [], None
    for path, labels in labelled_images(infer.cfg, limit):
        _, data = infer.read(path)
        if not times:  # the first call also sets things up
            infer.predict(data)
        start = time.perf_counter()
        predicted = infer.predict(data)
        times.append(1e3 * (time.perf_counter() - start))
        counts.add(predicted, labels)
        sizes.append(int(np.prod(data['inputs'].shape[-2:])))
        largest = path if sizes[-1] == max(sizes) else largest
    groups = {name: None if np.isnan(value) else value for name, value in counts.result().items()}
    return dict(miou=counts.overall(), **groups, per_class=counts.by_size(),
                classes=dict(zip(infer.classes, counts.classes(), strict=True)),
                ms=round(float(np.median(times)), 1), pixels=int(np.median(sizes)),
                images=len(times), largest=largest)


def _told(row: dict) -> str:
    scores = ', '.join(f'{g} {row[g]:.1f}' for g in GROUPS if row[g] is not None)
    peak = '' if row['peak_mib'] is None else f", {row['peak_mib']:.0f} MiB"
    return f"  scale {row['scale']:g}: mIoU {row['miou']:.1f}, {scores}, {row['ms']:.0f} ms{peak}"


def _peak(made_of: tuple, options: dict | None, path: str) -> float:
    """Peak MiB of one image, above the loaded model."""
    from mmvitlin.apis import SegInferencer
    infer = SegInferencer(*made_of, cfg_options=options, check_memory=False)
    infer.predict(infer.read(np.zeros((64, 64, 3), np.uint8))[1])  # libraries load what they load
    _, data = infer.read(path)
    return round(peak_memory(partial(infer.predict, data), infer.device), 1)


def curve_figure(rows: Sequence[dict], path: str | Path) -> Path:
    """mIoU by size of object, latency and memory against the pixels the network sees."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8))
    rows = [row for row in rows if 'error' not in row]
    pixels = [row['pixels'] for row in rows]
    ticks = [f"{row['scale']:g}×\n{row['pixels'] / 1e6:.2g} MP" for row in rows]
    for name, colour in (('miou', '#333333'), ('large', '#0072b2'), ('small', '#d55e00'),
                         ('thin', '#009e73')):
        axes[0].plot(pixels, [np.nan if row[name] is None else row[name] for row in rows], 'o-',
                     color=colour, label='all' if name == 'miou' else name)
    axes[0].set(ylabel='mIoU (%)', title='accuracy by size of object')
    axes[0].legend()
    for axis, key, label in ((axes[1], 'ms', 'time of an image (ms)'),
                             (axes[2], 'peak_mib', 'peak memory (MiB)')):
        axis.plot(pixels, [np.nan if row[key] is None else row[key] for row in rows], 'o-',
                  color='#333333')
        axis.set(yscale='log', ylabel=label, title=label)
    for axis in axes:
        axis.set(xscale='log', xlabel='scale and size of the input')
        axis.set_xticks(pixels, ticks, fontsize=8)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    figure.tight_layout()
    return save(figure, path)
