"""Work-arounds for mmcv."""
from __future__ import annotations

import functools

from mmcv.image import geometric


def keep_a_pixel() -> None:
    """Let images that are resized keep one pixel of height and of width.

    mmcv rounds the sides of an image that is 1x500 and becomes 128 pixels wide to 128 and 0, which
    OpenCV refuses with a message that names no file. mmcv up to 2.3.6. Cheap and repeatable.
    """
    usual = geometric.rescale_size
    if hasattr(usual, 'keeps_a_pixel'):
        return

    @functools.wraps(usual)
    def rescale_size(old_size, scale, return_scale: bool = False):
        size, factor = usual(old_size, scale, return_scale=True)
        size = tuple(max(side, 1) for side in size)
        return (size, factor) if return_scale else size

    rescale_size.keeps_a_pixel = True
    geometric.rescale_size = rescale_size
