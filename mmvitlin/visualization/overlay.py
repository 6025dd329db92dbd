"""Classes drawn over images."""
from __future__ import annotations

import cv2
import numpy as np


def overlay(image: np.ndarray, labels: np.ndarray, palette: np.ndarray, opacity: float = 0.5
            ) -> np.ndarray:
    """The image (H, W, 3) with its classes' colours over it; unknown labels are black."""
    table = np.concatenate([np.asarray(palette, np.uint8), np.zeros((1, 3), np.uint8)])
    known = np.where((labels >= 0) & (labels < len(palette)), labels, len(palette))
    return cv2.addWeighted(np.ascontiguousarray(image), 1 - opacity, table[known], opacity, 0)
