"""What the values of label files mean: maps to classes, and encodings that are recognised."""
from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from mmvitlin.utils.errors import ConfigError

_CITYSCAPES_TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_CITYSCAPES_IDS = range(19, 34)  # label ids that are no train ids
_COCO_STUFF_IDS = range(171, 182)
_COUNTED_FROM_ONE = {150: 'ADE20K', 59: 'Pascal Context', 7: 'LoveDA', 6: 'Potsdam and Vaihingen'}
MAPS = dict(cityscapes_ids={i: _CITYSCAPES_TRAIN_IDS.index(i) if i in _CITYSCAPES_TRAIN_IDS
                            else 'ignore' for i in range(34)})


class LabelMap:
    """From values of a label file to classes.

    Args:
        settings: Value of the file → class number, or 'ignore'; other values stay. A value is an
            integer, or (red, green, blue) of labels drawn in colours, all of which must then be
            given. Or 'cityscapes_ids', for files of Cityscapes' label ids instead of train
            ids.
        ignore_index: Label that stands for 'ignore'.

    Raises:
        ConfigError: an unknown name, or something else than numbers.
    """

    def __init__(self, settings: dict | str, ignore_index: int):
        if isinstance(settings, str):
            if settings not in MAPS:
                raise ConfigError(f"LoadSegLabels: label_map is a dict or one of {sorted(MAPS)}, "
                                  f"got '{settings}'")
            settings = MAPS[settings]
        self.values: dict[int, int] = {}
        self.colours: dict[int, int] = {}
        try:
            for key, label in settings.items():
                label = ignore_index if label in ('ignore', None) else _whole(label)
                if isinstance(key, (tuple, list)):
                    red, green, blue = map(_whole, key)
                    self.colours[red << 16 | green << 8 | blue] = label
                else:
                    self.values[_whole(key)] = label
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError('LoadSegLabels: label_map must be a dict of values of the file (or '
                              "(red, green, blue)) to class numbers or 'ignore', got "
                              f'{settings!r:.80} ({error})') from error

    def of_colours(self, pixels: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
        """Labels (H, W) of colours (H, W, 3), and colours that have no class."""
        codes = pixels[..., 0].astype(np.int64) << 16 | pixels[..., 1].astype(np.int64) << 8 \
            | pixels[..., 2]
        present, places = np.unique(codes, return_inverse=True)
        labels = np.array([self.colours.get(int(c), -1) for c in present], np.int64)
        unknown = [(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255)
                   for c, label in zip(present, labels, strict=True) if label < 0]
        return labels[places.reshape(codes.shape)], unknown


def _whole(value) -> int:
    number = int(value)
    if isinstance(value, float) and number != value:
        raise ValueError(f'{value} is no whole number')
    return number


def count_values(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of a label image, in order, and how many pixels have each."""
    if labels.dtype in (np.uint8, np.uint16):
        counts = np.bincount(labels.ravel())
        values = np.flatnonzero(counts)
        return values, counts[values]
    return np.unique(labels, return_counts=True)


def colours_of(pixels: np.ndarray, most: int = 5) -> str:
    """The most frequent colours of an image (H, W, 3), as text."""
    flat, counts = np.unique(pixels[..., :3].reshape(-1, 3), axis=0, return_counts=True)
    order = counts.argsort()[::-1]
    names = ', '.join(str(tuple(flat[n].tolist())) for n in order[:most])
    return f'{len(flat)} colours ({names}{", …" if len(flat) > most else ""})'


def advice(values: Collection[int], num_classes: int, reduced: bool = False) -> str:
    """What labels that are no class are likely to be, and the remedy.

    Args:
        values: All values of a file or a data set that are not ignored already.
        num_classes: Of the head.
        reduced: ``reduce_zero_label`` has taken one off them.
    """
    wrong = {v for v in values if v >= num_classes or v < 0}
    if num_classes == 19 and wrong <= set(_CITYSCAPES_IDS) and len(wrong) > 1:
        return ("These are Cityscapes' label ids, not its train ids: make *_labelTrainIds.png with "
                "csCreateTrainIdLabelImgs of cityscapesscripts, or set label_map='cityscapes_ids' "
                'of LoadSegLabels')
    if wrong == {num_classes} and not reduced:
        return _one_too_many(num_classes)
    if num_classes == 171 and wrong <= set(_COCO_STUFF_IDS):
        return ("These are COCO-Stuff's ids, which have gaps: make *_labelTrainIds.png with "
                "mmsegmentation's tools/dataset_converters/coco_stuff164k.py")
    if is_spread(values):
        classes = ', '.join(f'{v}: {n}' for n, v in enumerate(sorted(values)))
        return (f'The values {sorted(values)} are spread, as for looking at them: give their '
                f'classes, such as label_map={{{classes}}} of LoadSegLabels')
    return ('Set num_classes, give label_map={VALUE: CLASS, …} of LoadSegLabels, or name those '
            'that mean nothing in its void_labels')


def is_hidden_cityscapes(hidden: set[int], num_classes: int) -> bool:
    """Whether values that were named void are Cityscapes' label ids beside its train ids."""
    return num_classes == 19 and len(hidden & set(_CITYSCAPES_IDS)) > 1


def _one_too_many(num_classes: int) -> str:
    n, zero = num_classes, 'reduce_zero_label=True of the data set and LoadSegLabels'
    if n in _COUNTED_FROM_ONE:
        return (f'Labels of {_COUNTED_FROM_ONE[n]} count from 1, with 0 for what is no class: set '
                f'{zero}')
    if n == 11:
        return ("In CamVid 11 is void: set void_labels=[11] of LoadSegLabels; labels that count "
                f'from 1 need {zero}')
    if n == 20:
        return ('With Pascal VOC and others 0 is the background, which is a class: set num_classes '
                f'and classes to 21; if it is to be ignored, {zero}')
    return (f'If the labels count from 1, set {zero}; if {n} means nothing, void_labels=[{n}] of '
            'LoadSegLabels')


def is_spread(values: Iterable[int]) -> bool:
    """Whether values look made for viewing, such as 0, 128, 255, and not as class numbers."""
    values = sorted(values)
    gaps = [b - a for a, b in zip(values, values[1:], strict=False)]
    return 1 < len(values) <= 32 and min(gaps) >= 5 and max(gaps) <= 3 * min(gaps) + 5 \
        and values[-1] <= 255 and values[0] < 5 * len(values)
