"""What all samples of a config together show: shares of classes, duplicates, likely mistakes."""
from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass

import numpy as np

from mmvitlin.datasets.checks.checking import Checked, Part, Problem
from mmvitlin.datasets.checks.files import stray_files
from mmvitlin.datasets.checks.list_files import faulty_lines
from mmvitlin.datasets.checks.masks import MaskCount, ignores_255
from mmvitlin.datasets.transforms.label_values import is_hidden_cityscapes

_TRANSPARENT = ('RGBA', 'LA', 'PA', 'La', 'RGBa')
_NAMED = 12  # classes in a message
_BORDERS, _THIRD = 200, 0.08  # CamVid has 0.01 of its borders so, resized wrongly 0.14 to 0.34


@dataclass(frozen=True)
class ClassShare:
    """Share of a class in the training data.

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


class Tally:
    """Counts over the samples of one data set.

    Args:
        part: The data set.
    """

    def __init__(self, part: Part):
        self.part, self.samples, self.labelled = part, 0, 0
        self.of_pixels = False
        self.images: Counter[int] = Counter()  # by class
        self.pixels: Counter[int] = Counter()
        self.beside: Counter[int] = Counter()  # pixels that count of the images with the class
        self.ignored = 0
        self.values: Counter[int] = Counter()  # by value in the label files
        self.masks = MaskCount()  # where 255 is ignored
        self._counts_masks = ignores_255(_reader(part), part.dataset)
        self.sizes: tuple[list[int], list[int]] | None = None
        self.headers: Counter[str] = Counter()
        self.unseen = self.for_shown = self.for_stored = 0  # turned images, and what labels fit
        self.turned_example = ''
        self.borders = np.zeros(2, np.int64)  # between classes, with a third one on them

    def add(self, seen: Checked) -> None:
        """Count a sample."""
        self.samples += 1
        if seen.size is not None:
            low, high = self.sizes or (list(seen.size), list(seen.size))
            self.sizes = ([min(a, b) for a, b in zip(low, seen.size, strict=True)],
                          [max(a, b) for a, b in zip(high, seen.size, strict=True)])
        if seen.header is not None:
            self._add_header(seen)
        if seen.classes is None:
            return
        self.labelled += 1
        self.of_pixels |= seen.of_pixels
        self.headers['no objects'] += not seen.classes
        self.borders += np.array(seen.borders)
        counted = {c: n for c, n in seen.classes.items()
                   if c != self.part.ignore_index or not self.of_pixels}
        total = sum(counted.values())
        for c, n in counted.items():
            self.images[c] += 1
            self.pixels[c] += n
            self.beside[c] += total
        self.ignored += sum(seen.classes.values()) - total
        self.values.update(seen.values or {})
        if self._counts_masks and seen.values:
            self.masks.add(seen.values, seen.label_file)

    def _add_header(self, seen: Checked) -> None:
        header = seen.header
        self.headers['16 bits'] += header.bits == 16
        self.headers['several frames'] += header.frames > 1
        self.headers['transparency'] += header.mode in _TRANSPARENT
        if header.turn:
            self.headers['EXIF orientation'] += 1
            self.turned_example = self.turned_example or seen.file
        self.unseen += seen.unseen
        if seen.fits is not None:
            self.for_shown += seen.fits[0] > seen.fits[1]
            self.for_stored += seen.fits[0] < seen.fits[1]

    @property
    def ignored_share(self) -> float:
        """Of the pixels of all labels, 0 to 1."""
        return self.ignored / max(self.ignored + sum(self.pixels.values()), 1)

    @property
    def never(self) -> list[int]:
        """Classes that no label shows; none where there are no labels."""
        return [c for c in range(self.part.num_classes) if c not in self.images] \
            if self.labelled else []


class Survey:
    """Takes the samples of :func:`mmvitlin.datasets.checks.checking.check` one by one, and keeps
    12 bytes of each.

    Args:
        parts: See :func:`mmvitlin.datasets.checks.checking.open_splits`.
    """

    def __init__(self, parts: list[Part]):
        self.parts = parts
        self.tallies = [Tally(part) for part in parts]
        self.problems: list[Problem] = []
        self._place = {id(part): n for n, part in enumerate(parts)}
        self._digests, self._samples, self._parts = array('Q'), array('I'), array('H')

    def add(self, seen: Checked) -> None:
        """Count a sample."""
        place = self._place[id(seen.part)]
        self.tallies[place].add(seen)
        self.problems += seen.problems
        if seen.digest is not None:
            self._digests.append(seen.digest)
            self._samples.append(seen.number)
            self._parts.append(place)

    def all_problems(self) -> list[Problem]:
        """Problems of single samples, and those that only show over all samples."""
        problems = [*self.problems, *self._duplicates(), *self._other_classes()]
        unlabelled = not any(t.images for t in self.tallies if t.part.split == 'train')
        for tally in self.tallies:
            part = tally.part
            problems += [Problem(part.split, 'list', path,
                                 f'{path}: line {line.number}: {line.words}', 'warning')
                         for path, line in faulty_lines(part.dataset)]
            problems += [Problem(part.split, kind, file, detail, level)
                         for kind, file, detail, level in stray_files(part.dataset)]
            problems += self._of_headers(tally)
            problems += self._of_labels(tally, unlabelled)
            if found := tally.masks.words([t.masks for t in self.tallies], part.num_classes):
                problems.append(Problem(part.split, 'mask of 0 and 255', part.key, *found))
        return problems

    def class_shares(self) -> list[ClassShare]:
        """Of each class in the training labels, in order; empty where there are no label maps."""
        tallies = [t for t in self.tallies if t.part.split == 'train' and t.of_pixels]
        if not tallies:
            return []
        names = tallies[0].part.classes
        images, pixels, beside = (np.array([sum(getattr(t, key)[c] for t in tallies)
                                            for c in range(len(names))], float)
                                  for key in ('images', 'pixels', 'beside'))
        with np.errstate(invalid='ignore', divide='ignore'):
            frequency = pixels / beside
            weight = np.sqrt(np.nanmedian(frequency) / frequency) if pixels.any() else frequency
        return [ClassShare(name, int(images[c]), 100 * float(pixels[c] / max(pixels.sum(), 1)),
                           float(weight[c]) if pixels[c] else None) for c, name in enumerate(names)]

    def _duplicates(self) -> list[Problem]:
        """Images of one content in two splits, or twice in one."""
        digests = np.array(self._digests, np.uint64)
        order = np.argsort(digests, kind='stable')
        digests, problems = digests[order], []
        for place in (np.flatnonzero(digests[1:] == digests[:-1]) + 1).tolist():
            first = np.searchsorted(digests, digests[place])
            (before, its_split), (file, split) = (self._file(order[n]) for n in (first, place))
            if before != file or its_split != split and 'train' in (its_split, split):
                problems.append(Problem(split, 'duplicate', file, f'{file}: the same picture as '
                                        f'{before} ({its_split})'))
        return problems

    def _file(self, entry: int) -> tuple[str, str]:
        part = self.parts[self._parts[entry]]
        info = part.dataset.get_data_info(self._samples[entry])
        return str(info.get('img_path', f'sample {self._samples[entry]}')), part.split

    def _other_classes(self) -> list[Problem]:
        """Splits whose folders count other classes than the first one's."""
        first = next((p for p in self.parts if hasattr(p.dataset, 'folder_to_idx')), None)
        problems = []
        for part in self.parts:
            if first is None or not hasattr(part.dataset, 'folder_to_idx') \
                    or part.classes == first.classes:
                continue
            differing = sorted(set(first.classes) ^ set(part.classes)) or list(part.classes)
            problems.append(Problem(
                part.split, 'other classes', part.key, f"{part.key} has other class folders than "
                f"{first.key} ({', '.join(differing[:_NAMED])}), so the same number means another "
                'class; make the folders the same'))
        return problems

    @staticmethod
    def _of_headers(tally: Tally) -> list[Problem]:
        split, count, problems = tally.part.split, tally.headers, []

        def put(kind: str, detail: str, level: str = 'note') -> None:
            problems.append(Problem(split, kind, tally.part.key, detail, level))

        if count['no objects']:
            put('no objects', f"{count['no objects']} images have no objects")
        if count['16 bits']:
            put('16 bits', f"{count['16 bits']} images have 16 bits")
        if count['transparency']:
            put('transparency', f"{count['transparency']} images have transparency, which is "
                'dropped')
        if count['several frames']:
            put('several frames', f"{count['several frames']} files hold several frames or pages; "
                'the first of each is read', 'warning')
        if turned := count['EXIF orientation']:
            words = f'{turned} images have an EXIF orientation, as {tally.turned_example}'
            stored, shown = tally.for_stored, tally.for_shown
            if stored > shown:
                put('orientation', f'{words}; labels fit the pixels as they are stored in {stored} '
                    f'of {stored + shown} images whose size does not tell: set '
                    "color_type='color_ignore_orientation' of mmvitlin.LoadImage", 'error')
            elif shown:
                put('orientation', f'{words}; labels fit them as viewers show them in {shown} of '
                    f'{stored + shown} images whose size does not tell')
            elif tally.unseen:
                put('orientation', f'{words}; whether the labels of {tally.unseen} are for them as '
                    'viewers show them, as is assumed, or as they are stored (color_type='
                    "'color_ignore_orientation'), their size does not tell: look at them with "
                    '`mmvitlin browse_dataset`', 'warning')
            else:
                put('orientation', words)
        return problems

    @staticmethod
    def _of_labels(tally: Tally, unlabelled: bool) -> list[Problem]:
        """``unlabelled``: none of the training data has a label."""
        part, problems = tally.part, []
        if not tally.labelled:
            return problems
        hidden = {v for v in tally.values if v in _void(part)}
        if is_hidden_cityscapes(hidden, part.num_classes):
            problems.append(Problem(
                part.split, 'other encoding', part.key, "the label files hold Cityscapes' label "
                'ids, not its train ids, and void_labels hides it: make *_labelTrainIds.png with '
                "csCreateTrainIdLabelImgs, or set label_map='cityscapes_ids' of LoadSegLabels"))
        borders, third = tally.borders.tolist()
        if borders >= _BORDERS and third > _THIRD * borders:
            problems.append(Problem(
                part.split, 'interpolated labels', part.key, f'on {100 * third / borders:.0f}% of '
                'the borders between two classes lies a pixel of a third whose number is between '
                'theirs, as where label files were resized like photographs or saved as JPEG once: '
                'resize them by nearest neighbour', 'warning'))
        never, names = tally.never, part.classes
        if part.split != 'train' or not never:
            return problems
        shown = ', '.join(names[c] if c < len(names) else str(c) for c in never[:_NAMED])
        more = f' and {len(never) - _NAMED} more' if len(never) > _NAMED else ''
        only = unlabelled or len(tally.images) < 2 and part.num_classes > 1 and tally.of_pixels
        problems.append(Problem(
            part.split, 'class never occurs', part.key,
            f"no label is of {shown}{more}{_why_never(tally)}", 'error' if only else 'warning'))
        return problems


def _void(part: Part) -> set[int]:
    """Values that the reader of labels ignores."""
    reader = _reader(part)
    return set(getattr(reader, 'void_labels', None) or ())


def _reader(part: Part):
    return next((step for step in part.read.transforms if hasattr(step, 'void_labels')), None)


def _why_never(tally: Tally) -> str:
    """Likely reasons, as text."""
    part, reader, values = tally.part, _reader(tally.part), tally.values
    ignored = part.ignore_index
    zero = getattr(part.dataset, 'reduce_zero_label', False)
    if reader is None or reader.label_map is not None or not values:
        return ''
    if values.get(ignored) and ignored not in (_void(part)):
        rest = sorted(v for v in values if v != ignored)
        classes = ', '.join(f'{v}: {n}' for n, v in enumerate([*rest, ignored]))
        share = 100 * values[ignored] / sum(values.values())
        if len(rest) < part.num_classes and len(rest) <= _NAMED:
            return (f'; {share:.1f}% of the pixels are {ignored}, which is ignored: if it is a '
                    f'class, set label_map={{{classes}}} of LoadSegLabels')
    if zero and part.num_classes - 1 in tally.never and values.get(0):
        return ('; 0 is ignored (reduce_zero_label=True): if the labels count from 0, set it to '
                'False')
    if not zero and 0 in tally.never and max(values) < part.num_classes:
        return '; the labels may count from 1: then set reduce_zero_label=True'
    return ''
