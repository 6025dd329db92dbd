"""Order of the steps that read labels and those that move pixels."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmengine.registry import TRANSFORMS

from mmvitlin.compat.kinds import class_of, is_kind, kind_of
from mmvitlin.engine.rules.context import (
    Context,
    dataset_class,
    default_of,
    dicts_below,
    of_library,
    warn,
)
from mmvitlin.utils.errors import ConfigError

LABEL_STEPS = frozenset((
    'LoadAnnotations', 'LoadSegLabels', 'LoadPanoptic', 'LoadPanopticAnnotations',
    'LoadBiomedicalAnnotation', 'LoadDepthAnnotation'))
PADDING = frozenset(('Pad', 'PadCanvas'))  # boxes keep their places
GEOMETRIC = PADDING | frozenset((
    'Resize', 'RandomResize', 'RandomChoiceResize', 'ResizeToMultiple', 'ResizeShortestEdge',
    'FixShapeResize', 'FixScaleResize', 'ResizeEdge', 'RandomResizedCrop', 'LoadCrop', 'RandomFlip',
    'RandomRotFlip', 'RandomRotate', 'Rotate', 'CenterCrop', 'RandomCrop', 'MinIoURandomCrop',
    'RandomCenterCropPad', 'Expand', 'RandomShift', 'RandomAffine', 'GeomTransform', 'ShearX',
    'ShearY', 'TranslateX', 'TranslateY', 'CropPad', 'CentreShare', 'RandomMosaic', 'Mosaic',
    'CachedMosaic', 'MixUp', 'CachedMixUp', 'CopyPaste', 'MultiScaleFlipAug'))
_SEQUENCES = frozenset(('RandomApply', 'TransformBroadcaster', 'KeyMapper', 'RandomOrder',
                        'ProposalBroadcaster', 'MultiScaleFlipAug'))
_CHOICES = {'RandomChoice': 'transforms', 'AutoAugment': 'policies', 'RandAugment': 'aug_space'}


@dataclass(frozen=True)
class _Seen:
    """The steps that a sample has passed: keys with the names of the steps."""
    moved: str | None = None
    padded: str | None = None
    labels: str | None = None
    boxes_only: bool = False


def order(context: Context) -> None:
    """Labels are read before the first step that moves pixels in training, where both are moved
    together, and after the last one in evaluation, which compares at the labels' own size.

    Raises:
        ConfigError: names both steps.
    """
    if context.distils:
        return  # no label is read
    for loader, _, steps in context.pipelines():
        _follow(steps, {_Seen()}, _refuse_late if loader == 'train_dataloader' else
                _refuse_early if _reads_labels(context, loader) else lambda *_: None)


def _reads_labels(context: Context, loader: str) -> bool:
    """Whether a metric takes labels from the samples, not from an annotation file."""
    metrics = [metric for _, metric in context.evaluators(loader)]
    return any(not metric.get('ann_file') and not metric.get('format_only') for metric in metrics)


def _follow(steps: Sequence[tuple[str, dict]], seen: set[_Seen], refuse) -> set[_Seen]:
    """The states in which samples can leave these steps."""
    for key, step in steps:
        kind = kind_of(step)
        if kind == 'TestTimeAug':
            for n, views in enumerate(step.get('transforms') or []):
                seen = _choose([(f'{key}.transforms.{n}.{m}', [v]) for m, v in enumerate(views)],
                               seen, refuse)
            continue
        if kind in _CHOICES:
            branches = step.get(_CHOICES[kind]) or []
            branches = branches if isinstance(branches, (list, tuple)) else []
            seen = _choose([(f'{key}.{_CHOICES[kind]}.{n}',
                             branch if isinstance(branch, (list, tuple)) else [branch])
                            for n, branch in enumerate(branches)], seen, refuse)
            continue
        seen = {_meet(key, step, one, refuse) for one in seen}
        if kind in _SEQUENCES:
            seen = _follow(_keyed(f'{key}.transforms', step.get('transforms')), seen, refuse)
    return seen


def _choose(branches: list[tuple[str, Sequence]], seen: set[_Seen], refuse) -> set[_Seen]:
    ends = [_follow(_keyed(key, branch), seen, refuse) for key, branch in branches]
    return set().union(*ends) or seen


def _keyed(key: str, steps) -> list[tuple[str, dict]]:
    return [(f'{key}.{n}', step) for n, step in enumerate(steps or ()) if isinstance(step, dict)]


def _meet(key: str, step: dict, seen: _Seen, refuse) -> _Seen:
    name = f'{key} ({kind_of(step)})'
    if is_kind(step, LABEL_STEPS):
        seen = replace(seen, labels=name, boxes_only=_boxes_only(step))
        refuse(seen, name)
        return replace(seen, moved=None, padded=None)
    if not is_kind(step, GEOMETRIC) or _idle(step):
        return seen
    if is_kind(step, PADDING):
        seen = replace(seen, padded=seen.padded or name)
    else:
        seen = replace(seen, moved=seen.moved or name)
    refuse(seen, None)
    return seen


def _idle(step: dict) -> bool:
    """Whether a step does nothing."""
    factor = step.get('scale_factor')
    return step.get('prob', 1) == 0 or factor is not None and factor in (1, (1, 1), [1, 1])


def _boxes_only(step: dict) -> bool:
    """Whether only boxes are read, whose places no padding changes."""
    known = class_of(step, TRANSFORMS)
    return ((known is None or known.__module__.startswith('mmdet'))
            and step.get('with_bbox', True) and not step.get('with_mask')
            and not step.get('with_seg') and kind_of(step) == 'LoadAnnotations'
            and (known is not None or 'with_bbox' in step))


def _blamed(seen: _Seen) -> str | None:
    return seen.moved or (None if seen.boxes_only else seen.padded)


def _refuse_late(seen: _Seen, labels: str | None) -> None:
    """In training: labels that are read behind a step that has moved the image."""
    if labels is not None and (step := _blamed(seen)):
        raise ConfigError(f'{labels} reads labels after {step} has moved the image, so they '
                          'would not fit it; put it before')


def _refuse_early(seen: _Seen, labels: str | None) -> None:
    """In evaluation: labels that are moved after they were read."""
    if labels is None and seen.labels and (step := _blamed(seen)):
        raise ConfigError(f'{step} moves the labels that {seen.labels} has read, and evaluation '
                          "compares at the labels' own size and place; read them after it")


def labelled(context: Context) -> None:
    """Labels that a segmentor's loss or metric compares with are read.

    Raises:
        ConfigError: no step of the pipeline does.
    """
    if context.distils or 'decode_head' not in context.model:
        return
    for loader, key, steps in context.pipelines(context.loaders):
        needed = loader == 'train_dataloader' or any(
            kind_of(metric) == 'IoUMetric' and not metric.get('format_only')
            for _, metric in context.evaluators(loader))
        flat = [part for place, step in steps for _, part in dicts_below(step, place)
                if kind_of(part)]
        if needed and flat and all(of_library(step) for step in flat) and not any(
                is_kind(step, LABEL_STEPS) or step.get('with_seg') for step in flat):
            raise ConfigError(f"{key}.pipeline has no step that reads labels; put dict(type="
                              "'mmvitlin.LoadSegLabels', num_classes=…) into it")


def labels_alike(context: Context) -> None:
    """Values of the label files of one folder mean the same classes in every loader.

    Raises:
        ConfigError: ``reduce_zero_label`` or ``label_map`` of two loaders differ; names both.
    """
    first: dict[tuple, tuple[str, dict]] = {}
    for key, dataset in () if context.distils else context.datasets(context.compared):
        reader = next((step for step in dataset.get('pipeline') or []
                       if is_kind(step, LABEL_STEPS)), None)
        if reader is None:
            continue
        zero = reader.get('reduce_zero_label')
        known = default_of(dataset_class(dataset), 'reduce_zero_label')
        now = dict(label_map=reader.get('label_map'), reduce_zero_label=bool(
            dataset.get('reduce_zero_label', known) if zero is None else zero))
        place, before = first.setdefault((kind_of(dataset), str(dataset.get('data_root'))),
                                         (key, now))
        for name, value in now.items():
            if before[name] != value:
                raise ConfigError(f'{place} and {key} read the labels of the same data with '
                                  f'{name}={before[name]} and {name}={value}; give both the same')


def read_alike(context: Context) -> None:
    """Warns where images are read as grey in one loader and in colours in another."""
    first: tuple[str, bool] | None = None
    for _, _, steps in context.pipelines(context.compared):
        for place, step in steps:
            if not is_kind(step, frozenset(('LoadImageFromFile', ))):
                continue
            grey = str(step.get('color_type', 'color')).startswith('grayscale')
            if first is not None and grey != first[1]:
                warn(f"{first[0]} reads images {'in grey' if first[1] else 'in colours'}, {place} "
                     f"{'in grey' if grey else 'in colours'}; give both the same color_type")
                return
            first = first or (place, grey)


def normalised_twice(context: Context) -> None:
    """Either the pipeline or the preprocessor normalises and turns BGR to RGB.

    Raises:
        ConfigError: both do; names both keys.
    """
    key, settings = context.preprocessor
    for _, _, steps in context.pipelines():
        for place, step in steps:
            if kind_of(step) != 'Normalize':
                continue
            if settings.get('mean') is not None:
                raise ConfigError(f'{place} (Normalize) and {key}.mean both normalise the images; '
                                  f'take {place} out')
            if step.get('to_rgb', True) and (settings.get('bgr_to_rgb') or
                                             settings.get('to_rgb')):
                raise ConfigError(f'{place} (Normalize) and {key} both turn BGR to RGB, which '
                                  f'gives BGR again; set {place}.to_rgb=False')
