"""IoU of large, small and thin objects separately."""
from __future__ import annotations

import cv2
import numpy as np

GROUPS = ('large', 'small', 'thin')


class SizeIoU:
    """Accumulates, for each class and size of object, correct and wrong pixels.

    Every connected region of one class is one object, in the labels and in the prediction. With
    the image's height H it is *thin* if nowhere wider than ``thin · H``, else *small* if its area
    is below ``(small · H)²``, else *large*. Missed pixels count for the group of the labelled
    object they belong to, wrong ones for the group of the predicted object; so::

        IoU(class, group) = hits / (labelled pixels + wrong pixels)

    and a group's mIoU is the mean over the classes that have labelled objects in it.

    Args:
        num_classes: C.
        thin: Greatest width over the image's height; the default is 8 pixels of 1,024.
        small: Side of the square over the image's height; the default is 64 pixels of 1,024.
        ignore_index: Label left out.
    """

    def __init__(self, num_classes: int, thin: float = 8 / 1024, small: float = 64 / 1024,
                 ignore_index: int = 255):
        self.num_classes, self.thin, self.small = num_classes, thin, small
        self.ignore_index = ignore_index
        # class, group, (hits, labelled, wrong)
        self.counts = np.zeros((num_classes, len(GROUPS), 3), np.int64)

    def groups(self, mask: np.ndarray) -> np.ndarray:
        """Group of each pixel of a class's mask (H, W): 0, 1, 2, and −1 outside."""
        out = np.full(mask.shape, -1, np.int8)
        count, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8),
                                                                    connectivity=8)
        if count == 1:
            return out
        width = np.zeros(count)
        np.maximum.at(width, regions[mask], _widths(mask)[mask])
        height = mask.shape[0]
        group = np.where(stats[:, cv2.CC_STAT_AREA] < (self.small * height)**2, 1, 0)
        group[width <= max(self.thin * height, 1)] = 2
        group[0] = -1
        return group[regions].astype(np.int8)

    def add(self, predicted: np.ndarray, labels: np.ndarray) -> None:
        """Count an image: two (H, W) maps of class numbers.

        Raises:
            ValueError: their sizes differ.
        """
        if predicted.shape != labels.shape:
            raise ValueError(f'prediction {predicted.shape} and labels {labels.shape} differ')
        known = labels != self.ignore_index
        for c in np.union1d(np.unique(predicted), np.unique(labels[known])):
            if not 0 <= c < self.num_classes:
                continue
            of_labels = self.groups(labels == c)
            of_prediction = self.groups((predicted == c) & known)
            hit = (predicted == c) & (labels == c)
            wrong = (predicted == c) & (labels != c) & known
            for g in range(len(GROUPS)):
                self.counts[c, g] += (np.sum(hit & (of_labels == g)), np.sum(of_labels == g),
                                      np.sum(wrong & (of_prediction == g)))

    def result(self) -> dict[str, float]:
        """mIoU of each group in percent; NaN where no object was labelled."""
        hits, labelled, wrong = np.moveaxis(self.counts.astype(float), 2, 0)
        with np.errstate(invalid='ignore', divide='ignore'):
            iou = np.where(labelled > 0, hits / (labelled + wrong), np.nan)
        return {name: round(100 * float(np.nanmean(iou[:, g])), 2)
                if np.any(labelled[:, g]) else float('nan') for g, name in enumerate(GROUPS)}

    def overall(self) -> float:
        """mIoU over all sizes in percent, as IoUMetric counts it."""
        return round(float(np.mean([iou for iou in self._classes() if iou is not None])), 2)

    def classes(self) -> list[float | None]:
        """IoU of each class over all sizes in percent; None where it is in neither."""
        return [None if iou is None else round(iou, 2) for iou in self._classes()]

    def _classes(self) -> list[float | None]:
        return [100 * hits / (labelled + wrong) if labelled + wrong else None
                for hits, labelled, wrong in self.counts.sum(1).tolist()]

    def by_size(self) -> list[list[float | None]]:
        """(C, groups) IoU in percent; None where no object was labelled."""
        return [[round(100 * hits / (labelled + wrong), 2) if labelled else None
                 for hits, labelled, wrong in row] for row in self.counts.tolist()]


def _widths(mask: np.ndarray) -> np.ndarray:
    """Of each pixel of a mask (H, W) the diameter of the circle around it that stays inside.

    Each pixel is cut in four: the middle of an object of even width lies between two pixels. The
    border of the image is no edge.
    """
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    rows, columns = slice(max(y - 1, 0), y + h + 1), slice(max(x - 1, 0), x + w + 1)
    quarters = mask[rows, columns].astype(np.uint8).repeat(2, 0).repeat(2, 1)
    depth = cv2.distanceTransform(quarters, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth[[0, -1]] = depth[:, [0, -1]] = 0  # or a line into a corner of the image were wider there
    depth = np.maximum(depth[::2], depth[1::2])
    widths = np.zeros(mask.shape, np.float32)
    widths[rows, columns] = np.maximum(depth[:, ::2], depth[:, 1::2])
    return widths
