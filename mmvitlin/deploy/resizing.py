"""Bilinear resizing as torch and OpenCV do it, without either."""
from __future__ import annotations

import numpy as np


def resize(maps: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """Bilinear resizing without smoothing.

    Args:
        maps: (C, h, w) float32.
        size: (H, W) to resize to.
        align_corners: Whether the outermost pixels' centres stay where they are, as torch's
            ``interpolate`` says it; else the image's borders do.

    Returns:
        (C, H, W) float32.
    """
    if maps.shape[1:] == tuple(size):
        return maps
    for axis, length in ((1, size[0]), (2, size[1])):
        if maps.shape[axis] == length:
            continue
        low, high, share = _neighbours(maps.shape[axis], length, align_corners)
        share = share.reshape((-1, 1) if axis == 1 else (1, -1))
        first = maps.take(low, axis)
        maps = first + (maps.take(high, axis) - first) * share
    return maps


def _neighbours(old: int, new: int, align_corners: bool
                ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each new place its two old ones and the share of the second."""
    places = np.arange(new, dtype=np.float64)
    if align_corners:
        at = places * ((old - 1) / max(new - 1, 1))
    else:
        at = np.clip((places + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = np.minimum(at.astype(np.int64), old - 1)
    high = np.minimum(low + 1, old - 1)
    return low, high, (at - low).astype(np.float32)
