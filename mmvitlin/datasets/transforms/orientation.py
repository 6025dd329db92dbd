"""Whether labels were drawn on an image as viewers show it, or on the pixels as they are stored."""
from __future__ import annotations

import cv2
import numpy as np

from mmvitlin.datasets.transforms.decoding import oriented


def fits(image: np.ndarray, labels: np.ndarray, orientation: int) -> tuple[float, float] | None:
    """How well the borders of labels lie on edges of their image, both ways.

    Args:
        image: (H, W, 3) uint8, turned as its EXIF orientation says.
        labels: (H, W) classes, as their file has them.
        orientation: EXIF's.

    Returns:
        Mean gradient of the image along the labels' borders, by that of the whole image, for labels
        of the image as it is shown, and for labels of the stored pixels; None where labels have no
        borders or the image no edges.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_BGR2GRAY),
                            (0, 0), 1.).astype(np.float32)
    gradient = cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    usual = float(gradient.mean())
    both = [float(gradient[borders].mean()) / usual if borders.any() and usual else None
            for borders in map(_borders, (labels, oriented(labels, orientation)))
            if borders.shape == gradient.shape]
    return None if len(both) < 2 or None in both else (both[0], both[1])


def _borders(labels: np.ndarray) -> np.ndarray:
    borders = np.zeros(labels.shape, bool)
    borders[:, 1:] = labels[:, 1:] != labels[:, :-1]
    borders[1:] |= labels[1:] != labels[:-1]
    return borders
