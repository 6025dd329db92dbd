"""Gain and cost of more resolution."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, init_default_scope

from mmvitlin.apis import SegInferencer
from mmvitlin.compat.kinds import is_kind
from mmvitlin.datasets.checks.checking import READING_STEPS
from mmvitlin.datasets.subset import evenly
from mmvitlin.datasets.transforms.loading import LENIENCIES
from mmvitlin.evaluation.size_iou import GROUPS, SizeIoU
from mmvitlin.evaluation.windows import OVERLAP, whole_options, window_options
from mmvitlin.utils.disturbance import Watch, computing_threads, in_words
from mmvitlin.utils.errors import UnreadableFileError, UserError
from mmvitlin.utils.machine import peak_memory, undisturbed
from mmvitlin.utils.subprocess import MeasurementError, in_fresh_process, is_out_of_memory
from mmvitlin.visualization.figures import plt, save


def labelled_images(cfg: Config, limit: int | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """(image file, labels (H, W)) of a config's test set, at the labels' own size; what its
    evaluator leaves out is 255. With a limit as many, evenly spread."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, pipeline=[]))
    load = Compose([{k: v for k, v in s.items() if k not in LENIENCIES}
                    for s in cfg.test_dataloader.dataset.pipeline
                    if is_kind(s, READING_STEPS)])
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
                     keep: Callable[[list[dict]], None] = lambda rows: None,
                     windows: tuple[int, int] | None = None, overlap: float = OVERLAP
                     ) -> list[dict]:
    """Evaluate one checkpoint at several input sizes, on whole images and in windows.

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
        progress: Called with a line for each result.
        keep: Called with all rows after each scale.
        windows: (height, width) of windows to compare whole images with, such as
            :func:`mmvitlin.evaluation.windows.training_crop`; None for images as the config's
            ``test_cfg`` takes them.
        overlap: Part of a window that the next one shares.

    Returns:
        For each scale, and with ``windows`` for 'mode' 'whole' and then 'windows' (with their
        'crop'; left out where every image is one window): 'scale', 'miou', 'large', 'small', 'thin'
        (percent, None where there is no such object), 'classes' (IoU by name, None for one in
        neither labels nor prediction),
        'per_class' (of each the IoU of its large, small and thin objects), 'load' (see
        :class:`mmvitlin.utils.disturbance.Load`; reading and scoring included), 'ms' (median of an
        image, reading it left out), 'peak_mib' (above the loaded model, largest image, fresh
        process; None where that failed), 'pixels' (median, of what the network sees) and 'images';
        or 'scale' and 'error' for one that could not be run.

    Raises:
        UnreadableFileError: a file of the test set cannot be read.
    """
    rows: list[dict] = []
    for scale in scales:
        made_of = (config, checkpoint, device, precision, scale)
        modes: list[tuple[dict, dict]] = [({}, {})]
        if windows is not None:
            modes = [(dict(mode='whole'), whole_options()),
                     (dict(mode='windows', crop=list(windows)), window_options(windows, overlap))]
        for label, settings in modes:
            row = _row(made_of, dict(options or {}, **settings), limit, (thin, small), progress)
            largest = row.pop('extent', None)
            rows.append(dict(scale=scale, **label, **row))
            progress(_described(rows[-1]))
            keep(rows)
            if windows is not None and largest and all(
                    a <= b for a, b in zip(largest, windows, strict=True)):
                break  # an image is one window
    return rows


def _row(made_of: tuple, options: dict, limit: int | None, thresholds: tuple[float, float],
         progress: Callable[[str], None]) -> dict:
    """Scores, time and memory of a test set in one mode, and 'extent', the greatest height
    and width of an image; or 'error'."""
    infer = SegInferencer(*made_of, cfg_options=options)
    counts = SizeIoU(len(infer.classes), *thresholds)
    try:
        seen = _evaluate(infer, counts, limit)
    except UnreadableFileError:  # no scale would do
        raise
    except (UserError, MemoryError, RuntimeError) as error:
        if not isinstance(error, UserError) and not is_out_of_memory(error):
            raise
        return dict(error=str(error))
    peak, largest = None, str(seen.pop('largest'))
    try:
        peak = in_fresh_process(_peak, made_of, options, largest)
    except MeasurementError as error:
        progress(f'  scale {made_of[-1]:g}: memory was not measured: {error}')
    return dict(seen, peak_mib=peak)


def _evaluate(infer, counts: SizeIoU, limit: int | None) -> dict:
    """Scores and times of a test set, its largest file, and the extent of its images."""
    times, sizes, largest, extent = [], [], None, [0, 0]
    with Watch(computing_threads(infer.device)) as watch:
        for path, labels in labelled_images(infer.cfg, limit):
            _, data = infer.read(path)
            if not times:  # the first call also sets things up
                infer.predict(data)
            start = time.perf_counter()
            predicted = infer.predict(data)
            times.append(1e3 * (time.perf_counter() - start))
            counts.add(predicted, labels)
            shape = data['inputs'].shape[-2:]
            extent = [max(a, b) for a, b in zip(extent, shape, strict=True)]
            sizes.append(int(np.prod(shape)))
            largest = path if sizes[-1] == max(sizes) else largest
    groups = {name: None if np.isnan(value) else value for name, value in counts.result().items()}
    return dict(miou=counts.overall(), **groups, per_class=counts.by_size(),
                classes=dict(zip(infer.classes, counts.classes(), strict=True)),
                ms=round(float(np.median(times)), 1), pixels=int(np.median(sizes)),
                images=len(times), largest=largest, extent=extent, load=watch.load.as_dict())


def _described(row: dict) -> str:
    what = f"  scale {row['scale']:g}" + (' in windows' if row.get('mode') == 'windows' else '')
    if 'error' in row:
        return f"{what}: {row['error']}"
    scores = ', '.join(f'{g} {row[g]:.1f}' for g in GROUPS if row[g] is not None)
    peak = '' if row['peak_mib'] is None else f", {row['peak_mib']:.0f} MiB"
    busy = '' if undisturbed([row]) else f" ({in_words(row['load'])})"
    return f"{what}: mIoU {row['miou']:.1f}, {scores}, {row['ms']:.0f} ms{busy}{peak}"


def _peak(made_of: tuple, options: dict | None, path: str) -> float:
    """Peak MiB of one image, above the loaded model."""
    infer = SegInferencer(*made_of, cfg_options=options, check_memory=False)
    infer.predict(infer.read(np.zeros((64, 64, 3), np.uint8))[1])  # warm-up
    _, data = infer.read(path)
    return round(peak_memory(partial(infer.predict, data), infer.device), 1)


def gains(rows: Sequence[dict]) -> dict[str, list[float | None]]:
    """Class → its IoU at every scale that ran, windows left out, those first that gain the most by
    the last."""
    rows = [row for row in rows if 'error' not in row and row.get('mode') != 'windows']
    scores = {name: [row['classes'][name] for row in rows] for name in rows[0]['classes']} \
        if rows else {}
    return dict(sorted(scores.items(), key=lambda item: (item[1][0] or 0) - (item[1][-1] or 0)))


def curve_figure(rows: Sequence[dict], path: str | Path, classes: int = 3) -> Path:
    """mIoU by size of object, the classes that gain and lose the most (so many of each), latency
    and memory against the pixels the network sees; of windows mIoU, latency and memory, dashed."""
    figure, axes = plt.subplots(1, 4, figsize=(17, 3.8))
    rows = [row for row in rows if 'error' not in row]
    tiled = [row for row in rows if row.get('mode') == 'windows']
    whole = [row for row in rows if row not in tiled]
    ticks = {row['pixels']: f"{row['scale']:g}×\n{row['pixels'] / 1e6:.2g} MP" for row in rows}

    def line(axis, of: Sequence[dict], values, style: str = 'o-', **kwargs) -> None:
        axis.plot([row['pixels'] for row in of], [np.nan if v is None else v for v in values],
                  style, **kwargs)

    for name, colour in (('miou', '#333333'), ('large', '#0072b2'), ('small', '#d55e00'),
                         ('thin', '#009e73')):
        line(axes[0], whole, [row[name] for row in whole], color=colour,
             label='all' if name == 'miou' else name)
    axes[0].set(ylabel='mIoU (%)', title='accuracy by size of object')
    complete = [(name, scores) for name, scores in gains(rows).items() if None not in scores]
    shown = complete if len(complete) <= 2 * classes else complete[:classes] + complete[-classes:]
    for n, (name, scores) in enumerate(shown):
        line(axes[1], whole, scores, color=f'C{n}', label=name)
    axes[1].set(ylabel='IoU (%)', title='classes that gain and lose the most')
    for axis, key, label in ((axes[2], 'ms', 'time of an image (ms)'),
                             (axes[3], 'peak_mib', 'peak memory (MiB)')):
        line(axis, whole, [row[key] for row in whole], color='#333333')
        axis.set(ylabel=label, title=label)
    if tiled:
        label = 'all, windows of {}x{}'.format(*tiled[0]['crop'])
        for axis, key in ((axes[0], 'miou'), (axes[2], 'ms'), (axes[3], 'peak_mib')):
            line(axis, tiled, [row[key] for row in tiled], 's--', color='#333333', label=label)
    for axis in axes[2:]:
        axis.set_ylim(bottom=0)
    for axis in axes:
        axis.set(xscale='log', xlabel='scale and size of the input')
        axis.set_xticks(list(ticks), list(ticks.values()), fontsize=8)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    figure.tight_layout()
    return save(figure, path)
