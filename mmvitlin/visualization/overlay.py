"""Classes drawn over images."""
from __future__ import annotations

import cv2
import numpy as np


def overlay(image: np.ndarray, labels: np.ndarray, palette: np.ndarray, opacity: float = 0.5
            ) -> np.ndarray:
    """The image (H, W, 3) with its classes' colours over it; unknown labels are black."""
    table = np.zeros((max(256, len(palette)), 3), np.uint8)
    table[:len(palette)] = palette
    return cv2.addWeighted(np.ascontiguousarray(image), 1 - opacity, table[labels], opacity, 0)
