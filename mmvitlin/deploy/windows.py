"""Images of any size through a network that takes one."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np


def starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin that cover a length, evenly, overlapping at least by a share."""
    if length <= window:
        return [0]
    step = max(int(window * (1 - overlap)), 1)
    count = math.ceil((length - window) / step) + 1
    return [round(n * (length - window) / (count - 1)) for n in range(count)]


def strided(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin that are a stride apart, the last one at the end, as mmseg's are."""
    last = max(length - window, 0)
    return [min(n * stride, last) for n in range(-(-last // stride) + 1)]


def in_windows(image: np.ndarray, size: tuple[int, int], run: Callable[[np.ndarray], np.ndarray],
               places: tuple[Sequence[int], Sequence[int]], fill: Sequence[float]
               ) -> Iterator[np.ndarray]:
    """Scores of overlapping windows, averaged where they overlap.

    Args:
        image: (H, W, 3) uint8.
        size: (height, width) of a window.
        run: Scores (classes, height, width) of a window, float32.
        places: Where windows begin, from above and from the left, in order; they cover the image
            and may reach beyond it.
        fill: Colour beyond the edges of the image.

    Yields:
        (classes, n, W) float32, consecutive rows from the first to the last; a row is given as soon
        as no window below reaches it, so only the rows of one window's height are held.
    """
    height, width = image.shape[:2]
    total, count = None, np.zeros((size[0], width), np.float32)
    for top, below in zip(places[0], [*places[0][1:], height], strict=True):
        for left in places[1]:
            part = image[top:top + size[0], left:left + size[1]]
            window = np.empty((*size, 3), np.float32)
            window[:] = fill
            window[:part.shape[0], :part.shape[1]] = part
            scores = run(window)[:, :part.shape[0], :part.shape[1]]
            if total is None:
                total = np.zeros((len(scores), size[0], width), np.float32)
            area = (slice(part.shape[0]), slice(left, left + part.shape[1]))
            total[(slice(None), *area)] += scores
            count[area] += 1
        done = min(below, height) - top
        yield total[:, :done] / count[:done]
        for rows in (total.swapaxes(0, 1), count):  # what reaches into the next windows moves up
            kept = len(rows) - done
            rows[:kept] = rows[done:].copy()
            rows[kept:] = 0
