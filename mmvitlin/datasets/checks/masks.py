"""Label files that hold only 0 and 255, as masks made for viewing do, where 255 is ignored."""
from __future__ import annotations

from collections.abc import Collection

import numpy as np

from mmvitlin.datasets.transforms.decoding import label_pixels, read_file
from mmvitlin.datasets.transforms.label_values import count_values

_MASK = frozenset((0, 255))
_LOOKED_AT = 200  # files at most, before a training
_SHOWN = 3  # names in a message
REMEDY = 'set label_map={0: 0, 255: 1} of mmvitlin.LoadSegLabels'


def ignores_255(reader, dataset) -> bool:
    """Whether 255 in a label file is ignored because nobody has said what it is, and 0 is a class.

    Args:
        reader: Step that reads label maps; None of a data set without.
        dataset: Whose step it is.
    """
    if reader is None or getattr(reader, 'label_map', None) is not None \
            or 255 in getattr(reader, 'void_labels', ()):
        return False
    ignored = getattr(reader, 'ignore_index', getattr(dataset, 'ignore_index', 255))
    return ignored == 255 and not getattr(dataset, 'reduce_zero_label', False) \
        and not getattr(reader, 'reduce_zero_label', False)


class MaskCount:
    """Counts label files by whether they hold only 0 and 255."""

    def __init__(self):
        self.masks = self.numbered = self.numbered_with_void = 0
        self.examples: list[str] = []

    def add(self, values: Collection[int], file: str) -> None:
        """Count a file by its values; one of nothing but 0, or but 255, may be of either kind."""
        values = set(values)
        if values == _MASK:
            self.masks += 1
            if len(self.examples) < _SHOWN:
                self.examples.append(file)
        elif values - _MASK:
            self.numbered += 1
            self.numbered_with_void += 255 in values

    def words(self, others: Collection[MaskCount], num_classes: int) -> tuple[str, str] | None:
        """(what is wrong, its level) of masks where other label files hold class numbers.

        Args:
            others: Counts of all data sets, with this one.
            num_classes: Of the head. Of two classes, a file of the first one with ignored borders
                is usual where other files have ignored pixels too.
        """
        if not self.masks or not any(count.numbered for count in others):
            return None
        usual = num_classes <= 2 and any(count.numbered_with_void for count in others)
        names = ', '.join(self.examples) + ', …' * (self.masks > len(self.examples))
        files = '1 label file holds' if self.masks == 1 else f'{self.masks} label files hold'
        return (f'{files} only 0 and 255, and 255 is ignored, while others hold class numbers '
                f'({names}): if 255 is an object there, write its class number instead',
                'note' if usual else 'warning')


def only_masks(dataset, reader) -> tuple[int, bool] | None:
    """Whether the label files of a data set hold only 0 and 255, of which 255 is ignored.

    Files are read, evenly spread over the data set, until one holds another value: in most data
    sets one file.

    Args:
        dataset: With files of its own.
        reader: Its step that reads label maps.

    Returns:
        Number of files that were read, and whether that is all of them; None where one holds
        another value or cannot be read, none holds both, or 255 is no ignored label.
    """
    if not ignores_255(reader, dataset) or not len(dataset):
        return None
    numbers = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), _LOOKED_AT), dtype=int))
    found = False
    for number in numbers.tolist():
        try:
            path = dataset.get_data_info(number)['seg_map_path']
            content = read_file(path, 'label image', getattr(reader, 'backend_args', None))
            pixels, _ = label_pixels(content)
            values = set(count_values(pixels)[0].tolist())
        except Exception:  # the run says what cannot be read
            return None
        if pixels.ndim != 2 or not values <= _MASK:
            return None
        found |= values == _MASK
    return (len(numbers), len(numbers) == len(dataset)) if found else None
