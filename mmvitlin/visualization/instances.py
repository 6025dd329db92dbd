"""Boxes, masks and panoptic segments on images, by mmdet's visualiser."""
from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch


@cache
def _drawer():
    from mmdet.visualization import DetLocalVisualizer
    return DetLocalVisualizer(name='instances')


def draw_instances(image: np.ndarray, classes: Sequence[str], palette: np.ndarray,
                   boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray | None = None,
                   masks: np.ndarray | None = None, segments: np.ndarray | None = None
                   ) -> np.ndarray:
    """The image with boxes, names, scores and masks over it.

    Args:
        image: (H, W, 3) uint8 RGB.
        classes: Names.
        palette: (C, 3) colours.
        boxes: (n, 4), x₁ y₁ x₂ y₂ in pixels.
        labels: (n, ) class numbers.
        scores: (n, ); None for labels, which have none.
        masks: (n, H, W) bool.
        segments: (H, W) class + 1000 · number of the instance, drawn instead of boxes.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    if segments is not None and not (segments % 1000 < len(classes)).any():
        return image.copy()  # the visualiser cannot draw none
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData, PixelData
    sample = DetDataSample()
    if segments is not None:
        sample.pred_panoptic_seg = PixelData(sem_seg=torch.from_numpy(segments)[None])
    else:
        instances = InstanceData(bboxes=torch.from_numpy(np.asarray(boxes, np.float32)),
                                 labels=torch.from_numpy(np.asarray(labels)))
        if masks is not None:
            instances.masks = torch.from_numpy(np.asarray(masks, bool))
        if scores is None:
            sample.gt_instances = instances
        else:
            instances.scores = torch.from_numpy(np.asarray(scores))
            sample.pred_instances = instances
    drawer = _drawer()
    drawer.dataset_meta = dict(classes=list(classes),
                               palette=[tuple(int(v) for v in c) for c in palette])
    predicted = segments is not None or scores is not None
    drawer.add_datasample('image', image, sample, draw_gt=not predicted, draw_pred=predicted,
                          pred_score_thr=0.)
    return drawer.get_image()
