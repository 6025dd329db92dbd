"""A network's training samples as pictures."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from mmvitlin.compat.kinds import is_kind
from mmvitlin.datasets.checks.checking import READING_STEPS, SPLITS
from mmvitlin.utils.errors import ConfigError
from mmvitlin.visualization.instances import draw_instances
from mmvitlin.visualization.overlay import overlay


def browse(cfg: Config, split: str = 'train', original: bool = False
           ) -> Iterator[tuple[str, str, np.ndarray]]:
    """Samples of a split: file name, a caption, and a picture.

    Args:
        cfg: With the dataloaders of any of the libraries.
        split: 'train', 'val' or 'test'.
        original: As read, before any transform.

    Yields:
        Name of the image, what its labels say, (H, W, 3) uint8 RGB: the image and, where it has
        labels, the same beside it with them drawn.

    Raises:
        ConfigError: no such split.
    """
    if split not in SPLITS or cfg.get(SPLITS[split]) is None:
        raise ConfigError(f"the config has no split '{split}'; it has "
                          f'{[s for s, key in SPLITS.items() if cfg.get(key) is not None]}')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    settings = cfg[SPLITS[split]].dataset
    if original and 'pipeline' not in settings:
        raise ConfigError(f'{SPLITS[split]}.dataset is a {settings.type}; --original needs a data '
                          'set with a pipeline of its own')
    if original:
        pack = [s for s in settings.pipeline if s['type'].split('.')[-1].startswith('Pack')]
        settings = dict(settings, pipeline=[
            *(s for s in settings.pipeline if is_kind(s, READING_STEPS)), *pack])
    dataset = DATASETS.build(settings)
    meta = getattr(dataset, 'metainfo', {})
    for number in range(len(dataset)):
        sample = dataset[number]
        labels = sample['data_samples']
        image = np.ascontiguousarray(sample['inputs'].numpy()[:3][::-1].transpose(1, 2, 0))
        image = image.astype(np.uint8)
        yield Path(labels.img_path).name, *_labelled(image, labels, meta)


def _labelled(image: np.ndarray, labels, meta: dict) -> tuple[str, np.ndarray]:
    classes, palette = meta.get('classes') or (), meta.get('palette')
    if 'gt_sem_seg' in labels and 'data' in labels.gt_sem_seg:
        numbers = labels.gt_sem_seg.data[0].numpy().astype(np.int64)
        there = [n for n in np.unique(numbers) if n < len(classes)]
        colours = np.asarray(palette or _grey(len(classes)), np.uint8)
        return (', '.join(classes[n] for n in there),
                np.concatenate([image, overlay(image, numbers, colours)], axis=1))
    if 'gt_instances' in labels and 'labels' in labels.gt_instances:
        instances = labels.gt_instances
        numbers = instances.labels.numpy()
        masks = instances.masks.to_ndarray() if 'masks' in instances else None
        drawn = draw_instances(image, classes, palette or _grey(len(classes)),
                               instances.bboxes.tensor.numpy(), numbers, masks=masks)
        return (', '.join(f'{np.sum(numbers == n)} {classes[n]}' for n in np.unique(numbers)),
                np.concatenate([image, drawn], axis=1))
    if 'gt_label' in labels:
        return ', '.join(classes[n] if classes else str(int(n)) for n in labels.gt_label), image
    return '', image


def _grey(count: int) -> np.ndarray:
    return np.linspace(40, 255, max(count, 1)).astype(np.uint8)[:, None].repeat(3, 1)
