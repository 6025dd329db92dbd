"""Whole images or windows of the training crop: with which is a network better?"""
from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config

from mmvitlin.utils.machine import undisturbed

_NAMES = dict(whole='whole images', windows='windows')
OVERLAP = 1 / 3  # of a window, as most of mmseg's configs have it


def training_crop(cfg: Config) -> tuple[int, int] | None:
    """(height, width) of what a network saw in training: the last crop of the training pipeline, or
    else the size that its preprocessor or its positions are made for; None where none says so."""
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    crops = [step['crop_size'] for steps in _pipelines(dataset) for step in steps
             if step.get('crop_size')]
    model = cfg.get('model') or {}
    size = crops[-1] if crops else (model.get('data_preprocessor') or {}).get('size') or (
        model.get('backbone') or {}).get('img_size')
    if not size:
        return None
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _pipelines(dataset: dict) -> list[list[dict]]:
    """Pipelines of a data set and of those that it wraps, in the order in which they run."""
    inner = [dataset['dataset']] if dataset.get('dataset') else dataset.get('datasets') or []
    own = [dataset['pipeline']] if dataset.get('pipeline') else []
    return [steps for one in inner for steps in _pipelines(one)] + own


def whole_options() -> dict[str, object]:
    """Options with which a segmentor runs on whole images."""
    return {'model.test_cfg': dict(mode='whole')}


def window_options(crop: tuple[int, int], overlap: float = OVERLAP) -> dict[str, object]:
    """Options with which a segmentor runs on overlapping windows.

    Args:
        crop: (height, width) of a window.
        overlap: Part of a window that the next one shares.
    """
    stride = tuple(max(round(n * (1 - overlap)), 1) for n in crop)
    return {'model.test_cfg': dict(mode='slide', crop_size=tuple(crop), stride=stride)}


def compare_modes(rows: Sequence[dict]) -> list[dict]:
    """Results of whole images and windows at every scale.

    Args:
        rows: From :func:`mmvitlin.evaluation.resolution.resolution_curve`.

    Returns:
        For each scale that has both: 'scale', 'whole' and 'windows' (mIoU, None for one that could
        not be run), 'better' ('whole', 'windows', or 'same' within 0.05 points; None if neither
        ran), 'time' (of windows over that of whole images, None likewise and where other processes
        disturbed one).
    """
    by_scale: dict[float, dict[str, dict]] = {}
    for row in rows:
        by_scale.setdefault(row['scale'], {})[row.get('mode', 'whole')] = row
    compared = []
    for scale, modes in by_scale.items():
        if 'windows' not in modes or 'whole' not in modes:
            continue
        scores = {mode: modes[mode].get('miou') for mode in ('whole', 'windows')}
        ran = {mode: score for mode, score in scores.items() if score is not None}
        better = max(ran, key=ran.__getitem__) if ran else None
        if len(ran) == 2 and abs(scores['whole'] - scores['windows']) < 0.05:
            better = 'same'
        known = len(ran) == len(undisturbed([modes['windows'], modes['whole']])) == 2
        time = modes['windows']['ms'] / modes['whole']['ms'] if known else None
        compared.append(dict(scale=scale, **scores, better=better, time=time))
    return compared


def verdict(rows: Sequence[dict]) -> str:
    """Which of the two a network does better with at each scale, in a sentence; '' where no windows
    were tried."""
    crop = next((row['crop'] for row in rows if row.get('mode') == 'windows'), None)
    if crop is None:
        return ''
    compared = {part['scale']: part for part in compare_modes(rows)}
    parts = '; '.join(
        f'{scale:g}×: ' + (_of_scale(compared[scale]) if scale in compared else
                           'an image is one window')
        for scale in dict.fromkeys(row['scale'] for row in rows))
    scored = [row for row in rows if row.get('miou') is not None]
    text = f'Whole images or windows of {crop[0]}x{crop[1]}? {parts}.'
    if not scored:
        return text
    best = max(scored, key=lambda row: row['miou'])
    what = 'windows' if best.get('mode') == 'windows' else 'whole images'
    return (f"{text} Best of all: {what} at {best['scale']:g}×, mIoU {best['miou']:.1f} "
            f"({best['images']} images).")


def _of_scale(part: dict) -> str:
    if part['better'] is None:
        return 'neither could be run'
    if part['whole'] is None or part['windows'] is None:
        missing = 'whole images' if part['whole'] is None else 'windows'
        return f"only {_NAMES[part['better']]} could be run, {missing} failed"
    numbers = f"{part['whole']:.1f} whole, {part['windows']:.1f} in windows"
    time = 'times not known: other processes took cores' if part['time'] is None else (
        f"windows take {part['time']:.1f} times as long")
    if part['better'] == 'same':
        return f'both do the same ({numbers}; {time})'
    return f"{_NAMES[part['better']]} do better ({numbers}; {time})"
