"""Masks that predictions are matched to, read at points."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Values of maps (n, h, w) at points (n, P, 2) of [0, 1]², x first, bilinear: (n, P)."""
    return F.grid_sample(maps[:, None], 2 * points[:, None] - 1, align_corners=False)[:, 0, 0]


class InstanceMasks:
    """Masks of an image, one of each object.

    Args:
        labels: Class of each (n,).
        masks: (n, H, W), of 0 and 1.

    Attributes:
        present: None: every mask is a target.
    """

    def __init__(self, labels: Tensor, masks: Tensor):
        self.labels, self.masks, self.present = labels, masks, None

    def at(self, points: Tensor) -> Tensor:
        """All masks at the same points (P, 2) of [0, 1]², x first: (n, P), float32."""
        return sample_points(self.masks.float(), points.expand(len(self.masks), -1, -1))

    def of(self, index: Tensor, points: Tensor) -> Tensor:
        """Of the masks with numbers ``index`` (m,) each at its own points (m, P, 2): (m, P)."""
        return sample_points(self.masks[index].float(), points)


class ClassMasks:
    """Masks of a label map, one of each class that it shows; they are never made.

    They are read from the label map itself: a class's mask at a point is the share of the four
    pixels around it, weighted as in bilinear interpolation, that have the class. Which classes
    there are is not known on the host until it asks.

    Args:
        label_map: (H, W) or (1, H, W), of integers.
        num_classes: C.
        ignore_index: Label of pixels without a class; they are in no mask.

    Attributes:
        labels: All classes (C,).
        present: bool (C,): which of them the map shows; only they are targets.
    """

    def __init__(self, label_map: Tensor, num_classes: int, ignore_index: int):
        *_, self.height, self.width = label_map.shape
        labels = label_map.flatten().long()
        ignored = labels == ignore_index
        labels = labels.masked_fill(labels >= num_classes, num_classes + 1)  # out of bounds below
        self._map = labels.masked_fill(ignored, num_classes)
        self.labels = torch.arange(num_classes, device=labels.device)
        found = torch.zeros(num_classes + 1, dtype=torch.bool, device=labels.device)
        self.present = found.scatter_(0, self._map, True)[:-1]

    def at(self, points: Tensor) -> Tensor:
        """Masks of all classes at the same points (P, 2): (C, P); see :class:`InstanceMasks`."""
        classes, weights = self._around(points)
        shares = weights.new_zeros(len(self.labels) + 1, len(points))
        return shares.scatter_add_(0, classes, weights)[:-1]

    def of(self, index: Tensor, points: Tensor) -> Tensor:
        """Masks of the classes ``index`` (m,), each at its own points (m, P, 2): (m, P)."""
        classes, weights = self._around(points.flatten(0, 1))
        wanted = index.repeat_interleave(points.shape[1], output_size=points[..., 0].numel())
        return (weights * (classes == wanted)).sum(0).view(points.shape[:2])

    def _around(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Classes (4, P) of the pixels around points (P, 2), and their weights, float32."""
        sizes = (self.width, self.height)
        places, weights = [], []
        for place, size in zip(points.float().unbind(-1), sizes, strict=True):
            place = place * size - 0.5
            first = place.floor()
            share = place - first
            corners = torch.stack((first, first + 1))
            inside = (corners >= 0) & (corners < size)
            weights.append(torch.stack((1 - share, share)) * inside)
            places.append(corners.clamp(0, size - 1).long())
        index = places[1][:, None] * self.width + places[0]
        return (self._map[index.flatten(0, 1)],
                (weights[1][:, None] * weights[0]).flatten(0, 1))
