"""A walk over every sample of a config, before a run finds out."""
from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, init_default_scope

from mmvitlin.datasets.annotations import annotations_by_image, faults
from mmvitlin.datasets.loading import LENIENCIES

LABEL_STEPS = ('LoadAnnotations', 'LoadSegLabels', 'LoadPanoptic', 'LoadPanopticAnnotations')
READING_STEPS = ('LoadImage', 'LoadImageFromFile', *LABEL_STEPS)
SPLITS = dict(train='train_dataloader', val='val_dataloader', test='test_dataloader')


@dataclass(frozen=True)
class Problem:
    """Something wrong with a sample.

    Attributes:
        split: 'train', 'val' or 'test'.
        kind: 'missing', 'unreadable', 'other size', 'all ignored', 'duplicate', 'label without
            image', or of boxes and masks: 'box without area', 'box outside', 'annotated twice',
            'mask', 'mask beside box'.
        file: Which.
        detail: What exactly.
    """
    split: str
    kind: str
    file: str
    detail: str


@dataclass
class Checked:
    """One sample that was looked at; 'pixels' has a number for each label of its label map."""
    split: str
    file: str
    digest: str | None
    problems: list[Problem] = field(default_factory=list)
    pixels: dict[int, int] | None = None


@dataclass(frozen=True)
class ClassShare:
    """How much of the training data is of a class.

    Attributes:
        name: The class.
        images: That show it.
        share: Of the pixels that count, percent.
        weight: √(median frequency / frequency), frequency being the share of a class in the images
            that show it (Eigen & Fergus 2015, without the root); None if no image does.
    """
    name: str
    images: int
    share: float
    weight: float | None


def count_samples(cfg: Config) -> dict[str, int]:
    """Samples of each split of a config."""
    counts: dict[str, int] = {}
    for split, dataset, _ in _datasets(cfg):
        counts[split] = counts.get(split, 0) + len(dataset)
    return counts


def _datasets(cfg: Config) -> Iterator[tuple[str, object, Compose]]:
    """Splits that differ, with what reads their samples."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    seen = []
    for split, key in SPLITS.items():
        if cfg.get(key) is None or cfg[key].dataset in seen:
            continue
        seen.append(cfg[key].dataset)
        for settings in _leaves(cfg[key].dataset):
            steps = [dict(s) for s in settings['pipeline']
                     if s['type'].split('.')[-1] in READING_STEPS]
            for step in steps:
                if step['type'].split('.')[-1] == 'LoadImageFromFile':
                    step.update(type='mmvitlin.LoadImage')  # OpenCV does not notice a cut file
                    step.pop('imdecode_backend', None)
                for leniency in LENIENCIES:
                    step.pop(leniency, None)
            yield split, DATASETS.build(dict(settings, pipeline=[])), Compose(steps)


def _leaves(settings: dict) -> Iterator[dict]:
    """The data sets with files in what concatenates and repeats them."""
    if 'datasets' in settings:
        for inner in settings['datasets']:
            yield from _leaves(inner)
    elif 'dataset' in settings:
        yield from _leaves(settings['dataset'])
    else:
        yield dict(settings, pipeline=settings.get('pipeline', []))


def check(cfg: Config, workers: int = 2) -> Iterator[Checked]:
    """Look at every sample.

    Args:
        cfg: With the dataloaders of any of the libraries.
        workers: Threads that read.
    """
    for split, dataset, read in _datasets(cfg):
        file = getattr(dataset, 'ann_file', '')
        boxes = annotations_by_image(file) if file.endswith('.json') and hasattr(
            dataset, 'cat_ids') else {}
        with ThreadPoolExecutor(max(workers, 1)) as pool:
            yield from pool.map(partial(_look, split, dataset, read, boxes), range(len(dataset)))


def _look(split: str, dataset, read: Compose, boxes: dict[int, list[dict]], number: int
          ) -> Checked:
    info = dataset.get_data_info(number)
    file = info['img_path']
    seen = Checked(split, file, None)

    def complain(kind: str, detail: str) -> None:
        seen.problems.append(Problem(split, kind, file, detail))

    size = info.get('height'), info.get('width')
    if None not in size:  # of annotations, which do without the image
        for kind, words in faults(boxes.get(info.get('img_id'), []), *size):
            complain(kind, f'{dataset.ann_file}: {words} ({file})')
    try:
        sample = read({k: v for k, v in info.items() if k not in ('height', 'width')})
        seen.digest = hashlib.blake2b(Path(file).read_bytes(), digest_size=16).hexdigest()
    except FileNotFoundError as error:
        complain('missing', str(error))
        return seen
    except Exception as error:
        complain('unreadable', str(error))
        return seen
    if None not in size and tuple(sample['ori_shape'][:2]) != size:
        complain('other size', '{0} is {2}x{3} pixels, and its annotations in {1} are for {4}x{5}'
                 .format(file, dataset.ann_file, *sample['ori_shape'][:2], *size))
    labels = sample.get('gt_seg_map')
    if labels is not None:
        found, counts = np.unique(labels, return_counts=True)
        seen.pixels = dict(zip(found.tolist(), counts.tolist(), strict=True))
        if set(seen.pixels) == {getattr(dataset, 'ignore_index', 255)}:
            complain('all ignored', f"{info['seg_map_path']} holds no label that counts")
    return seen


def class_shares(cfg: Config, checked: list[Checked]) -> list[ClassShare]:
    """Of each class in the training labels, in order; empty where there are none."""
    names = next((dataset.metainfo.get('classes') for split, dataset, _ in _datasets(cfg)
                  if split == 'train'), None) or ()
    maps = [sample.pixels for sample in checked if sample.split == 'train' and sample.pixels]
    if not maps:
        return []
    counts = np.array([[pixels.get(c, 0) for c in range(len(names))] for pixels in maps], float)
    shown, pixels = counts > 0, counts.sum(0)
    beside = (shown * counts.sum(1, keepdims=True)).sum(0)
    with np.errstate(invalid='ignore'):
        frequency = pixels / beside
        weight = np.sqrt(np.nanmedian(frequency) / frequency) if pixels.any() else frequency
    return [ClassShare(name, int(shown[:, c].sum()), 100 * float(pixels[c] / max(pixels.sum(), 1)),
                       float(weight[c]) if pixels[c] else None) for c, name in enumerate(names)]


def duplicates(checked: list[Checked]) -> list[Problem]:
    """Images of one content in two splits, or twice in one."""
    first: dict[str, Checked] = {}
    found = []
    for sample in checked:
        if sample.digest is None:
            continue
        before = first.setdefault(sample.digest, sample)
        if before is not sample and (before.file != sample.file or before.split != sample.split
                                     and 'train' in (before.split, sample.split)):
            found.append(Problem(sample.split, 'duplicate', sample.file,
                                 f'the same content as {before.file} ({before.split})'))
    return found


def lonely_labels(cfg: Config) -> list[Problem]:
    """Label files that no image asks for, in folders without a list of what belongs to a split."""
    found = []
    for split, dataset, _ in _datasets(cfg):
        folder = (getattr(dataset, 'data_prefix', None) or {}).get('seg_map_path')
        if not folder or not Path(folder).is_dir() or getattr(dataset, 'ann_file', '') \
                or getattr(dataset, '_indices', None) is not None:
            continue
        asked = {str(Path(dataset.get_data_info(n)['seg_map_path']).resolve())
                 for n in range(len(dataset))}
        suffix = getattr(dataset, 'seg_map_suffix', '.png')
        found += [Problem(split, 'label without image', str(p), f'no image of the split has {p}')
                  for p in sorted(Path(folder).rglob(f'*{suffix}'))
                  if str(p.resolve()) not in asked]
    return found
