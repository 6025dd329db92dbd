"""Files in a data set's folders that are not read, and links that form loops."""
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mmvitlin.datasets.subset import evenly
from mmvitlin.utils.paths import IMAGE_ENDINGS, files_below

_COUNTED = 100_000
_LOOKED_AT = 200_000  # samples of a data set, evenly spread over it


def stray_files(dataset) -> Iterator[tuple[str, str, str, str]]:
    """(kind, file, words, level) of what a data set leaves out of its folders.

    Labels without an image, and images of another suffix or case. Nothing where a list says what
    belongs to the split, or only some samples are taken.
    """
    if getattr(dataset, 'ann_file', '') or getattr(dataset, '_indices', None) is not None:
        return
    if hasattr(dataset, 'extensions') and hasattr(dataset, 'img_prefix'):
        for words in unread_images(dataset.img_prefix, tuple(dataset.extensions)):
            yield 'other suffix', dataset.img_prefix, words, 'warning'
    if not hasattr(dataset, 'seg_map_suffix'):
        return
    prefix = dataset.data_prefix
    labels = prefix.get('seg_map_path')
    for words in unread_images(prefix.get('img_path'), dataset.img_suffix,
                               dataset.seg_map_suffix if labels else None):
        yield 'other suffix', prefix['img_path'], words, 'warning'
    if labels and Path(labels).is_dir():
        named = {os.path.realpath(dataset.get_data_info(n)['seg_map_path'])
                 for n in range(len(dataset))}
        named.update(os.path.realpath(dataset.get_data_info(n)['img_path'])
                     for n in range(len(dataset)))  # which may lie beside their labels
        for path in files_below(labels):
            if path.name.endswith(dataset.seg_map_suffix) and os.path.realpath(path) not in named:
                yield ('label without image', str(path), f'no image of the split has {path}',
                       'error')


def unread_images(folder: str | None, suffix: str | tuple[str, ...], labels: str | None = None
                  ) -> Iterator[str]:
    """The images of a folder that a data set leaves out, by their suffix, as text.

    Args:
        folder: Searched to its depth, as far as the first 100,000 files.
        suffix: Of mmseg's data sets, ``img_suffix``; of mmpretrain's, ``extensions``, whose case
            does not matter.
        labels: Suffix of the labels, which may lie beside the images.
    """
    if not folder or not Path(folder).is_dir():
        return
    several, counts = isinstance(suffix, tuple), Counter()
    for path in islice(files_below(folder), _COUNTED):
        if path.suffix.lower() not in IMAGE_ENDINGS or path.name.startswith('.') \
                or (path.name.lower() if several else path.name).endswith(suffix) \
                or labels and path.name.endswith(labels) or not path.is_file():
            continue
        counts[path.suffix] += 1
    setting = f'extensions are {sorted(suffix)}' if several else f"img_suffix is '{suffix}'"
    for other, count in sorted(counts.items()):
        yield f"{count} images of {folder} end in '{other}' and are left out: {setting}"


class Listing:
    """Whether files are there, by one listing of each folder that they lie in."""

    def __init__(self):
        self.folders: dict[str, set[str]] = {}

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        folder, name = os.path.split(path)
        if folder not in self.folders:
            try:
                self.folders[folder] = set(os.listdir(folder or '.'))
            except OSError:
                self.folders[folder] = set()
        return name in self.folders[folder] or os.path.isfile(path)  # case may not matter


def absent_files(dataset, labels: bool) -> Iterator[tuple[str, list[str], int]]:
    """(kind, paths that are not there, samples that name one) of a data set, kind by kind.

    Args:
        dataset: Built, of any of the libraries. What a data set itself found in its folders, and
            remote files, are not looked for.
        labels: Whether its label maps are read.
    """
    paths: dict[str, list[str]] = {'img_path': [], 'seg_map_path': []}
    listed = bool(getattr(dataset, 'ann_file', ''))
    for number in evenly(len(dataset), _LOOKED_AT) if listed or labels else ():
        sample = dataset.get_data_info(number)
        for key, checked in (('img_path', listed), ('seg_map_path', labels)):
            path = sample.get(key)
            if checked and isinstance(path, str) and '://' not in path:
                paths[key].append(path)
    listing = Listing()
    for key, files in paths.items():
        if absent := [path for path in files if not listing.has(path)]:
            yield key, absent, len(files)


def image_paths(dataset) -> Iterator[str]:
    """Of a data set's samples, up to 200,000 of them evenly spread."""
    for number in evenly(len(dataset), _LOOKED_AT):
        path = dataset.get_data_info(number).get('img_path')
        if isinstance(path, str):
            yield os.path.normpath(path)


def folders_of(dataset) -> list[str]:
    """Those in which a data set looks for its files."""
    prefix = getattr(dataset, 'data_prefix', None) or {}
    return [folder for folder in (prefix.values() if isinstance(prefix, dict) else [prefix])
            if folder]


def loops(folder: str) -> Iterator[str]:
    """Links below a folder that lead back to a folder they are in."""
    for root, folders, _ in os.walk(folder):
        for name in folders:
            path = os.path.join(root, name)
            if os.path.islink(path) and (os.path.realpath(root) + os.sep).startswith(
                    os.path.realpath(path) + os.sep):
                yield path
