"""Images of any size through a network that takes one."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np


def starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin that cover a length, evenly, overlapping at least by a share."""
    if length <= window:
        return [0]
    step = max(int(window * (1 - overlap)), 1)
    count = math.ceil((length - window) / step) + 1
    return [round(n * (length - window) / (count - 1)) for n in range(count)]


def in_windows(image: np.ndarray, size: tuple[int, int], run: Callable[[np.ndarray], np.ndarray],
               overlap: float, fill: Sequence[float]) -> np.ndarray:
    """Scores of overlapping windows, averaged where they overlap.

    Args:
        image: (H, W, 3) uint8.
        size: (height, width) of a window.
        run: Scores (classes, height, width) of a window.
        overlap: Least share of a window that the next one covers too.
        fill: Colour beyond the edges of an image that is smaller than a window.

    Returns:
        (classes, H, W) float32.
    """
    height, width = image.shape[:2]
    total, count = None, np.zeros((height, width), np.float32)
    for top in starts(height, size[0], overlap):
        for left in starts(width, size[1], overlap):
            part = image[top:top + size[0], left:left + size[1]]
            window = np.empty((*size, 3), np.uint8)
            window[:] = np.clip(np.round(fill), 0, 255).astype(np.uint8)
            window[:part.shape[0], :part.shape[1]] = part
            scores = run(window)[:, :part.shape[0], :part.shape[1]]
            if total is None:
                total = np.zeros((len(scores), height, width), np.float32)
            area = (slice(top, top + part.shape[0]), slice(left, left + part.shape[1]))
            total[(slice(None), *area)] += scores
            count[area] += 1
    total /= count
    return total
