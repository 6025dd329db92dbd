"""Bilinear resizing as torch and OpenCV do it, without either."""
from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

STRIP = 16  # rows that are worked on at a time


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


def resize_strips(strips: Iterable[np.ndarray], old: tuple[int, int], size: tuple[int, int],
                  align_corners: bool) -> Iterator[np.ndarray]:
    """:func:`resize`, a few rows at a time, so that no map is held whole.

    Args:
        strips: Maps cut into consecutive rows, (C, n, w) float32 each.
        old: (h, w) of the maps.
        size: (H, W) to resize to.
        align_corners: As in :func:`resize`.

    Yields:
        (C, n, W) float32, consecutive rows from the first to the last, at most :data:`STRIP` each.
    """
    low, high, share = _neighbours(old[0], size[0], align_corners)
    held, first, done = None, 0, 0  # rows from `first`, as far as they are still needed
    for strip in strips:
        held = strip if held is None else np.concatenate([held, strip], axis=1)
        ready = int(np.searchsorted(high, first + held.shape[1]))
        while done < ready:
            end = min(done + STRIP, ready)
            above = held.take(low[done:end] - first, 1)
            rows = above
            if old[0] != size[0]:
                below = held.take(high[done:end] - first, 1)
                rows = above + (below - above) * share[done:end, None]
            yield resize(rows, (end - done, size[1]), align_corners)
            done = end
        gone = held.shape[1]
        if done < size[0]:
            gone = min(gone, int(low[done]) - first)
        held, first = held[:, gone:], first + gone


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
