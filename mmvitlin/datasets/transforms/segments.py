"""Files of panoptic labels in COCO's form, without panopticapi, which is on no package index."""
from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mmvitlin.datasets.transforms.decoding import decoding, is_lossy, label_pixels, read_file
from mmvitlin.utils.errors import UnreadableFileError


def read_segments(path: str, shape: tuple[int, int] | None = None,
                  listed: Iterable[int] = (), raw: bool = False) -> np.ndarray:
    """Numbers of the segments of a panoptic PNG, (H, W) int32; 0 is unlabelled.

    A pixel's number is red + 256 · green + 256² · blue.

    Args:
        path: File.
        shape: (H, W) that it must have.
        listed: Numbers that it must have.
        raw: Leave the file's EXIF orientation out of account.

    Raises:
        UnreadableFileError: it cannot be decoded, has another size, or lacks segments.
    """
    content = read_file(path, 'panoptic labels')
    if is_lossy(content):
        raise UnreadableFileError(f'panoptic labels {path} are compressed as photographs are, '
                                  'which changes the numbers of segments; write them as PNG')
    with decoding(f'panoptic labels {path}'):
        picture, _ = label_pixels(content, raw)
        if picture.ndim != 3 or picture.shape[2] < 3:
            raise UnreadableFileError('have one channel; their segments must be coded in red, '
                                      "green and blue, as COCO's are")
    if shape is not None and picture.shape[:2] != tuple(shape):
        raise UnreadableFileError(f'panoptic labels {path} are {picture.shape[:2]} pixels, their '
                                  f'image {tuple(shape)}')
    red, green, blue = (picture[..., n].astype(np.int32) for n in range(3))
    numbers = red + 256 * green + 65536 * blue
    if absent := sorted(set(listed).difference(np.unique(numbers).tolist()) if listed else ()):
        raise UnreadableFileError(f'panoptic labels {path} have no segment {absent}, which the '
                                  'annotations list; correct the annotations, or write the file '
                                  'again')
    return numbers
