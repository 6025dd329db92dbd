"""What inferencers read from the config of the test data set."""
from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import DATASETS

from mmvitlin.compat.kinds import is_kind
from mmvitlin.datasets.checks.checking import LABEL_STEPS, strict_reader
from mmvitlin.utils.errors import ConfigError

_RESIZING = ('Resize', 'ResizeShortestEdge', 'RandomResize', 'RandomChoiceResize')


def data_set_of(cfg: Config, path: str, scope: str) -> dict:
    """The config of the data set whose pipeline says how images are read.

    Raises:
        ConfigError: there is none, or one that wraps others.
    """
    if 'teacher' in cfg.model:
        raise ConfigError(f'{path} distils a backbone, which has no head to give results; give the '
                          'config and checkpoint of a segmentor or detector that starts from it')
    kind = str(cfg.model.get('type'))
    if cfg.get('default_scope') == 'mmpretrain' or kind.endswith('Classifier'):
        raise ConfigError(f'{path} is of a classifier; the inferencers are for segmentors and '
                          'detectors (classes of images: mmpretrain.ImageClassificationInferencer, '
                          'or what `mmvitlin export` writes)')
    other = {'mmseg': 'segmentor: take SegInferencer', 'mmdet': 'detector: take DetInferencer'}
    if cfg.get('default_scope', scope) in other.keys() - {scope}:
        raise ConfigError(f"{path} is of a {other[cfg.default_scope]}, or `mmvitlin infer`, which "
                          'chooses by the config')
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    if dataset is None or 'pipeline' not in dataset:
        actual = f"a {dataset['type']}" if isinstance(dataset, dict) else 'nothing'
        raise ConfigError(f'{path}: test_dataloader.dataset must be one data set with a pipeline, '
                          f'which says how images are read, not {actual}')
    return dataset


def pipelines(steps: Sequence[dict], scale: str | float | tuple[int, int] | None,
              kept_size: Sequence[dict]) -> tuple[Compose, Compose]:
    """How a file is read, and what follows.

    Args:
        steps: Of a test pipeline.
        scale: See :class:`mmvitlin.apis.inferencer.Inferencer`.
        kept_size: Steps instead of a resize to the original size.

    Raises:
        ConfigError: an unknown scale.
    """
    steps = [strict_reader(s) for s in steps if not is_kind(s, LABEL_STEPS)]
    if scale is not None:
        if isinstance(scale, Real) and not isinstance(scale, bool) and 0 < scale < math.inf:
            resize = [dict(type='Resize', scale_factor=float(scale), keep_ratio=True)]
        elif scale == 'original':
            resize = list(kept_size)
        elif isinstance(scale, (tuple, list)) and len(scale) == 2 and all(
                isinstance(side, Real) and side > 0 and side == side // 1 for side in scale):
            resize = [dict(type='Resize', scale=tuple(map(int, scale)), keep_ratio=True)]
        else:
            raise ConfigError("scale must be None, 'original', a positive factor or (width, "
                              f'height), got {scale!r}')
        steps = [steps[0], *resize, *(s for s in steps[1:]
                                      if s['type'].split('.')[-1] not in _RESIZING)]
    return Compose(steps[:1]), Compose(steps[1:])


def names_and_colours(dataset: dict, num_classes: int) -> tuple[tuple, np.ndarray]:
    """Classes and palette (C, 3) of a data set, of the chosen classes where ``metainfo`` names
    some; of joined sets those of the first."""
    while inner := dataset.get('datasets') or dataset.get('dataset'):
        dataset = inner if isinstance(inner, dict) else inner[0]
    with DATASETS.switch_scope_and_registry(None) as registry:  # the library's own
        kind = registry.get(dataset['type']) if 'type' in dataset else None
        known = getattr(kind, 'METAINFO', None) or {}
    metainfo = dataset.get('metainfo') or {}
    chosen = BaseDataset._load_metainfo(  # either may be a file
        {k: metainfo[k] for k in ('classes', 'palette') if k in metainfo})
    names, palette = known.get('classes') or (), known.get('palette') or ()
    classes = tuple(chosen.get('classes') or names or range(num_classes))
    if chosen.get('palette'):
        palette = chosen['palette']
    elif set(classes) <= set(names):
        colours = dict(zip(names, palette, strict=False))
        palette = [colours[name] for name in classes if name in colours]
    fits = len(palette) == len(classes)
    return classes, np.asarray(palette, np.uint8) if fits else _colours(len(classes))


def _colours(count: int) -> np.ndarray:
    """Distinct colours for classes without a palette."""
    return np.random.RandomState(0).randint(32, 256, (count, 3)).astype(np.uint8)
