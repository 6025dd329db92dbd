"""Checks of every sample of a config, before a run."""
from __future__ import annotations

import errno
import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, init_default_scope

from mmvitlin.compat.kinds import is_kind
from mmvitlin.datasets.checks.annotations import annotations_by_image, faults
from mmvitlin.datasets.checks.files import folders_of, loops
from mmvitlin.datasets.checks.list_files import refuse_faulty_lists
from mmvitlin.datasets.transforms.decoding import Header
from mmvitlin.datasets.transforms.load_crop import WHOLE_IMAGE_OPTIONS
from mmvitlin.datasets.transforms.loading import LENIENCIES, turned_unseen
from mmvitlin.datasets.transforms.orientation import fits
from mmvitlin.utils.errors import ConfigError, UserError, in_words

LABEL_STEPS = ('LoadAnnotations', 'LoadSegLabels', 'LoadPanoptic', 'LoadPanopticAnnotations')
READING_STEPS = ('LoadImage', 'LoadImageFromFile', 'LoadCrop', *LABEL_STEPS)
SPLITS = dict(train='train_dataloader', val='val_dataloader', test='test_dataloader')
NEARLY_ALL = 0.95  # share of ignored pixels from which a file is named


@dataclass(frozen=True)
class Problem:
    """Something wrong with a sample, or with a split.

    Attributes:
        split: 'train', 'val' or 'test'.
        kind: 'missing', 'unreadable', 'other size', 'label above the classes', 'all ignored',
            'nearly all ignored', 'blank image', 'duplicate', 'label without image', 'list',
            'orientation', 'other encoding', 'class never occurs', …; of boxes and masks: 'box
            without area', 'box outside', 'annotated twice', 'mask', 'mask beside box'.
        file: Which, or what of the split.
        detail: What exactly.
        level: 'error', 'warning' (likely wrong) or 'note'.
    """
    split: str
    kind: str
    file: str
    detail: str
    level: str = 'error'


@dataclass
class Part:
    """A data set with files, of a split.

    Attributes:
        split: 'train', 'val' or 'test'.
        key: Its place in the config.
        dataset: Without a pipeline.
        read: What reads a sample.
        num_classes: Of the head, or of the data set; 0 if neither says.
        ignore_index: Of the head.
        steps: Its pipeline, as the config gives it.
    """
    split: str
    key: str
    dataset: object
    read: Compose
    num_classes: int
    ignore_index: int
    steps: list[dict] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, () where there are none."""
        return tuple((getattr(self.dataset, 'metainfo', None) or {}).get('classes') or ())


@dataclass
class Checked:
    """One sample that was checked.

    Attributes:
        part: Whose it is.
        number: Of the sample.
        file: Its image.
        digest: Of its pixels, 64 bits; None where they cannot be read.
        problems: What was found.
        size: (height, width).
        header: What the image file says.
        classes: Class → pixels of the label map, objects, or 1 of an image's class; None without
            labels.
        of_pixels: Whether the classes are of a label map.
        values: Value in the label file → pixels.
        label_file: Its label map, '' without.
        unseen: It has labels of pixels or boxes, and was turned in a way that its size does not
        show. fits: See :func:`mmvitlin.datasets.transforms.orientation.fits`. borders: See
        :func:`borders_between`.
    """
    part: Part
    number: int
    file: str
    digest: int | None = None
    problems: list[Problem] = field(default_factory=list)
    size: tuple[int, int] | None = None
    header: Header | None = None
    classes: dict[int, int] | None = None
    of_pixels: bool = False
    values: dict[int, int] | None = None
    label_file: str = ''
    unseen: bool = False
    fits: tuple[float, float] | None = None
    borders: tuple[int, int] = (0, 0)

    def complain(self, kind: str, detail: str, level: str = 'error') -> None:
        """Record a problem."""
        self.problems.append(Problem(self.part.split, kind, self.file, detail, level))


def refuse_list(settings: dict, key: str) -> None:
    """Look at the list of files of a data set, before anything is read.

    Args:
        settings: Config of the data set.
        key: Of it, in the whole config.

    Raises:
        ConfigError: names the list, the line and the remedy.
    """
    listed = settings.get('ann_file')
    if not isinstance(listed, str) or not listed or listed.endswith('.json'):
        return
    try:
        dataset = DATASETS.build(dict(settings, pipeline=[], lazy_init=True))
    except TypeError:  # one that cannot be built without reading its files
        return
    refuse_faulty_lists(dataset, key)


def open_splits(cfg: Config) -> list[Part]:
    """The data sets of a config that differ, each with what reads its samples.

    Raises:
        ConfigError: a list of files cannot be followed, or a data set cannot be built.
    """
    scope = cfg.get('default_scope', 'mmengine')
    init_default_scope(scope)
    seen, parts = [], []
    for split, key in SPLITS.items():
        if cfg.get(key) is None or cfg[key].dataset in seen:
            continue
        seen.append(cfg[key].dataset)
        for n, settings in enumerate(leaves := list(_leaves(cfg[key].dataset))):
            place = f'{key}.dataset' + (f' ({n + 1})' if len(leaves) > 1 else '')
            parts.append(_open(cfg, scope, split, place, settings))
    return parts


def _open(cfg: Config, scope: str, split: str, key: str, settings: dict) -> Part:
    refuse_list(settings, key)
    dataset = _build(settings, key)
    head = (cfg.get('model') or {}).get('decode_head') or {}
    head = head if isinstance(head, dict) else head[-1]
    of_pixels = hasattr(dataset, 'seg_map_suffix')
    if not of_pixels:
        head = (cfg.get('model') or {}).get('head') or {}
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
    count = head.get('num_classes') or len(classes)
    ignored = head.get('ignore_index', 255)
    steps = [_step(step, scope, of_pixels and count, ignored) for step in settings['pipeline']
             if is_kind(step, READING_STEPS)]
    return Part(split, key, dataset, Compose(steps), count, ignored, list(settings['pipeline']))


def _build(settings: dict, key: str):
    """A data set without its pipeline.

    Raises:
        ConfigError: a link in its folders leads back to where it lies.
    """
    try:
        return DATASETS.build(dict(settings, pipeline=[]))
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        links = [link for folder in folders_of(
            DATASETS.build(dict(settings, pipeline=[], lazy_init=True))) for link in loops(folder)]
        raise ConfigError(f'{key}: {", ".join(links) or "a link in its folders"} leads back to a '
                          'folder that it is in; remove it') from error


def _step(step: dict, scope: str, num_classes: int, ignore_index: int) -> dict:
    """A reading step, in the form that reports what is wrong with a file."""
    kind, step = step['type'].split('.')[-1], strict_reader(step)
    if kind == 'LoadAnnotations' and num_classes and (
            step['type'].startswith('mmseg.') or step['type'] == kind and scope == 'mmseg'):
        step.pop('imdecode_backend', None)
        step.update(type='mmvitlin.LoadSegLabels', num_classes=num_classes,
                    ignore_index=ignore_index)
    return step


def strict_reader(step: dict) -> dict:
    """A step that leaves no file out; mmcv's reader of images as mmvitlin's, which notices
    truncated files."""
    step = {k: v for k, v in step.items() if k not in LENIENCIES}
    kind = step['type'].split('.')[-1]
    if kind == 'LoadImageFromFile':
        step.update(type='mmvitlin.LoadImage')
        step.pop('imdecode_backend', None)
    elif kind == 'LoadCrop':  # the whole file is looked at
        step = {k: v for k, v in step.items() if k in WHOLE_IMAGE_OPTIONS}
        step.update(type='mmvitlin.LoadImage')
    return step


def _leaves(settings: dict) -> Iterator[dict]:
    """The data sets with files in what concatenates and repeats them."""
    if 'datasets' in settings:
        for inner in settings['datasets']:
            yield from _leaves(inner)
    elif 'dataset' in settings:
        yield from _leaves(settings['dataset'])
    else:
        yield dict(settings, pipeline=settings.get('pipeline', []))


def check(parts: list[Part], workers: int = 2) -> Iterator[Checked]:
    """Check every sample, without keeping them.

    Args:
        parts: See :func:`open_splits`.
        workers: Threads that read.
    """
    for part in parts:
        file = getattr(part.dataset, 'ann_file', '')
        boxes = annotations_by_image(file) if isinstance(file, str) and file.endswith('.json') \
            and hasattr(part.dataset, 'cat_ids') else {}
        yield from _few_at_once(partial(_look, part, boxes), len(part.dataset), max(workers, 1))


def _few_at_once(look: Callable[[int], Checked], count: int, workers: int) -> Iterator[Checked]:
    """Results in order; a pool's ``map`` would hold all that are ready."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        for number in range(count):
            waiting.append(pool.submit(look, number))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _look(part: Part, boxes: dict[int, list[dict]], number: int) -> Checked:
    info = part.dataset.get_data_info(number)
    file = str(info.get('img_path', f'sample {number}'))
    seen = Checked(part, number, file)
    size = info.get('height'), info.get('width')
    if None not in size:  # of annotations, which do without the image
        masks = any(getattr(step, 'with_mask', False) for step in part.read.transforms)
        for kind, words in faults(boxes.get(info.get('img_id'), []), *size, masks):
            seen.complain(kind, f'{part.dataset.ann_file}: {words} ({file})',
                          'error' if kind == 'mask' else 'warning')  # others are left out, or train
    try:
        sample = part.read({k: v for k, v in info.items() if k not in ('height', 'width')})
    except FileNotFoundError as error:
        seen.complain('missing', str(error))
        return seen
    except ConfigError:
        raise
    except Exception as error:
        known = isinstance(error, UserError)  # others name no file
        seen.complain('unreadable', str(error) if known else f'{file}: {in_words(error)}')
        return seen
    if 'img' not in sample:
        return seen
    _look_at_image(seen, sample, size)
    if 'gt_seg_map' in sample:
        _look_at_labels(seen, sample)
    elif isinstance(info.get('gt_label'), int):
        seen.classes = {info['gt_label']: 1}
        if part.num_classes and not 0 <= info['gt_label'] < part.num_classes:
            seen.complain('label above the classes', f"{file} is of class {info['gt_label']}, but "
                          f'there are {part.num_classes} classes (0 to {part.num_classes - 1})')
    elif isinstance(info.get('instances'), list):
        seen.classes = dict(Counter(i['bbox_label'] for i in info['instances']
                                    if 'bbox_label' in i and not i.get('ignore_flag')))
    return seen


def _look_at_image(seen: Checked, sample: dict, annotated: tuple) -> None:
    image, seen.header = sample['img'], sample.get('image_header')
    seen.unseen = turned_unseen(sample) and ('gt_seg_map' in sample or None not in annotated)
    seen.digest = int.from_bytes(hashlib.blake2b(
        repr(image.shape).encode() + np.ascontiguousarray(image).tobytes(),
        digest_size=8).digest(), 'little')
    seen.size = tuple(image.shape[:2])
    if min(seen.size) > 1 and (image == image[:1, :1]).all():
        seen.complain('blank image', f'{seen.file} has one colour everywhere', 'warning')
    if None not in annotated and seen.size != annotated:
        seen.complain(
            'other size', f'{seen.file} is {seen.size[0]}x{seen.size[1]} pixels, and its '
            f'annotations in {seen.part.dataset.ann_file} are for {annotated[0]}x{annotated[1]}'
            + (f' (EXIF orientation {seen.header.orientation})'
               if seen.header is not None and seen.header.turn else ''))


def _look_at_labels(seen: Checked, sample: dict) -> None:
    part, labels = seen.part, sample['gt_seg_map']
    name = sample.get('seg_map_path')
    if labels.shape[:2] != seen.size:
        seen.complain('other size', f'{name} is {labels.shape[0]}x{labels.shape[1]}, its image '
                      f'{seen.file} is {seen.size[0]}x{seen.size[1]}')
        return
    values, counts = np.unique(labels, return_counts=True)
    seen.classes = dict(zip(values.tolist(), counts.tolist(), strict=True))
    seen.of_pixels, seen.borders = True, borders_between(labels)
    seen.values, seen.label_file = sample.get('label_values'), str(name)
    wrong = [c for c in seen.classes if c != part.ignore_index
             and part.num_classes and not 0 <= c < part.num_classes]
    if wrong:
        seen.complain('label above the classes', f'{name} gives the labels {wrong[:8]}, but the '
                      f'head has {part.num_classes} classes (0 to {part.num_classes - 1}) and '
                      f'ignores {part.ignore_index}; its reader must ignore the same label')
    share = seen.classes.get(part.ignore_index, 0) / max(labels.size, 1)
    if share == 1:
        seen.complain('all ignored', f'{name} holds no label that counts')
    elif share > NEARLY_ALL:
        seen.complain('nearly all ignored', f'{100 * share:.1f}% of the pixels of {name} are '
                      'ignored', 'warning')
    if seen.unseen:
        seen.fits = fits(sample['img'], labels, seen.header.orientation)


def borders_between(labels: np.ndarray) -> tuple[int, int]:
    """(borders between classes along rows, those on which a third class lies one pixel wide).

    The third is between the two in number where labels were resized as photographs are.
    """
    left, middle, right = labels[:, :-2], labels[:, 1:-1], labels[:, 2:]
    border = left != right
    between = (np.minimum(left, right) < middle) & (middle < np.maximum(left, right))
    return int(border.sum()), int(between.sum())
