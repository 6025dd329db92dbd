"""One sample followed step by step through a training pipeline, users' own steps included."""
from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from mmvitlin.engine.rules.pipelines import LABEL_STEPS
from mmvitlin.utils.errors import ConfigError

_LABELS = ('gt_seg_map', 'gt_bboxes', 'gt_masks')


def follow(key: str, dataset, steps: Sequence | None = None) -> None:
    """Labels of the first sample come before anything moves its image, and keep its size.

    Args:
        key: Of the data set in the config.
        dataset: Built, for training.
        steps: Built too, used instead of the data set's own.

    Raises:
        ConfigError: names the step.
    """
    for place, leaf in leaves_of(key, dataset):
        with _same_random_numbers():
            _follow(place, leaf, leaf.pipeline.transforms if steps is None else steps)


def leaves_of(key: str, dataset) -> Iterator[tuple[str, object]]:
    """Data sets with files of their own, below wrappers."""
    if isinstance(getattr(dataset, 'datasets', None), (list, tuple)):
        for n, inner in enumerate(dataset.datasets):
            yield from leaves_of(f'{key}.datasets.{n}', inner)
    elif hasattr(dataset, 'dataset'):
        yield from leaves_of(f'{key}.dataset', dataset.dataset)
    elif hasattr(dataset, 'get_data_info') and hasattr(
            getattr(dataset, 'pipeline', None), 'transforms'):
        yield key, dataset


def is_reader(step) -> bool:
    """Whether a built step reads a label map."""
    names = {base.__name__ for base in type(step).__mro__}
    return bool(names & (LABEL_STEPS - {'LoadAnnotations'})) or 'LoadAnnotations' in names \
        and bool(getattr(step, 'with_seg', True))


def _follow(key: str, dataset, steps: Sequence) -> None:
    try:  # errors of reading or running are reported by the run itself
        sample = dataset.get_data_info(0)
        steps = copy.deepcopy(steps)
    except Exception:
        return
    labelled = False
    for n, step in enumerate(steps):
        place = f'{key}.pipeline.{n} ({type(step).__name__})'
        moved = _moved(sample)
        try:
            sample = step(sample)
        except Exception:
            return
        if not isinstance(sample, dict) or 'img' not in sample:
            return  # packed, or left out
        if not labelled and any(name in sample for name in _LABELS):
            labelled = True
            if moved:
                raise ConfigError(f'{place} reads labels of an image that a step before it has '
                                  f'{moved}, so they would not fit it; put it before')
        _compare(place, sample)


def _moved(sample: dict) -> str | None:
    """In a word, how an image has changed since it was read."""
    if 'flip' in sample:
        return 'flipped'
    image = sample.get('img')
    if isinstance(image, np.ndarray) and 'ori_shape' in sample \
            and image.shape[:2] != tuple(sample['ori_shape'][:2]):
        return 'resized'
    return None


def _compare(place: str, sample: dict) -> None:
    image, labels = sample['img'], sample.get('gt_seg_map')
    if isinstance(image, np.ndarray) and isinstance(labels, np.ndarray) \
            and image.shape[:2] != labels.shape[:2]:
        raise ConfigError(f"{place} leaves an image of {'x'.join(map(str, image.shape[:2]))} "
                          f"beside labels of {'x'.join(map(str, labels.shape[:2]))} pixels "
                          f"({sample.get('img_path')}); it must change both")


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Restores the state of random numbers on exit."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
