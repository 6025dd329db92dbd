"""Cross-entropy over labelled pixels. Needs mmseg."""
from __future__ import annotations

import torch
from mmseg.models.losses import CrossEntropyLoss
from mmseg.models.losses.cross_entropy_loss import cross_entropy
from torch import Tensor

from mmvitlin.registry import MODELS


@MODELS.register_module()
class PixelCrossEntropyLoss(CrossEntropyLoss):
    r"""mmseg's ``CrossEntropyLoss``, averaged over the pixels that are not ignored.

    .. math:: L = \sum_{i: y_i \neq v} w_{y_i} \, {-\log p_i(y_i)} \Bigl/
              \sum_{i: y_i \neq v} w_{y_i}

    with v the ignored label and w the class weights, as torch's ``cross_entropy``, and 0 where
    every pixel is ignored. mmseg's own divides by all pixels unless ``avg_non_ignore=True``, which
    fails beside class weights (mmseg 1.4.2: IndexError) and makes every step wait for the GPU, as
    do class weights, which it copies there each time.

    Args:
        avg_non_ignore: False for mmseg's way.
        **kwargs: As mmseg's.
    """

    def __init__(self, *args, avg_non_ignore: bool = True, **kwargs):
        super().__init__(*args, avg_non_ignore=avg_non_ignore, **kwargs)
        if not (self.use_sigmoid or self.use_mask):
            self.cls_criterion = pixel_cross_entropy
        weights = None if self.class_weight is None else torch.tensor(self.class_weight)
        self.register_buffer('_weights', weights, persistent=False)

    def forward(self, cls_score: Tensor, label: Tensor, weight: Tensor | None = None,
                avg_factor: Tensor | float | None = None, reduction_override: str | None = None,
                ignore_index: int = -100, **kwargs) -> Tensor:
        """See mmseg."""
        class_weight = None if self._weights is None else self._weights.to(
            cls_score, non_blocking=True)
        return self.loss_weight * self.cls_criterion(
            cls_score, label, weight, class_weight=class_weight,
            reduction=reduction_override or self.reduction, avg_factor=avg_factor,
            avg_non_ignore=self.avg_non_ignore, ignore_index=ignore_index, **kwargs)


def pixel_cross_entropy(pred: Tensor, label: Tensor, weight: Tensor | None = None,
                        class_weight: Tensor | None = None, reduction: str = 'mean',
                        avg_factor: Tensor | float | None = None, ignore_index: int = -100,
                        avg_non_ignore: bool = True) -> Tensor:
    """See :class:`PixelCrossEntropyLoss`; arguments as mmseg's ``cross_entropy``.

    Args:
        pred: (B, classes, H, W) scores before the softmax.
        label: (B, H, W) class numbers, and ``ignore_index``.
        weight: (B, H, W) of the pixels, which the mean does not count.
        class_weight: (classes, ).
        reduction: 'mean', 'sum' or 'none'.
        avg_factor: Divides the sum; None for the weights of the labelled pixels.
        ignore_index: Label that is left out.
        avg_non_ignore: Whether ignored pixels are left out of the mean too.
    """
    if reduction == 'mean' and avg_factor is None and avg_non_ignore:
        labelled = label != ignore_index
        avg_factor = labelled.sum() if class_weight is None else \
            (class_weight[label.where(labelled, 0)] * labelled).sum()
    return cross_entropy(pred, label, weight, class_weight, reduction, avg_factor, ignore_index)
