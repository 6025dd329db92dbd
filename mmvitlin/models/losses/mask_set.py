"""Loss of a set of masks with classes, matched to the labels one to one."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModule
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Values of maps (n, h, w) at points (n, P, 2) of [0, 1]², x first, bilinear: (n, P)."""
    return F.grid_sample(maps[:, None], 2 * points[:, None] - 1, align_corners=False)[:, 0, 0]


def uncertain_points(masks: Tensor, num_points: int, oversample_ratio: float,
                     importance_sample_ratio: float) -> Tensor:
    """Points where mask logits (n, h, w) are nearest to 0, and some random ones.

    Args:
        masks: Logits.
        num_points: P.
        oversample_ratio: Candidates are that many times P.
        importance_sample_ratio: Share of P that is chosen among the candidates.

    Returns:
        (n, P, 2) in [0, 1]².

    Source: PointRend (arXiv 1912.08193), section 3.1.
    """
    candidates = torch.rand(len(masks), int(num_points * oversample_ratio), 2,
                            device=masks.device)
    chosen = int(importance_sample_ratio * num_points)
    nearest = -sample_points(masks, candidates).abs()
    index = nearest.topk(chosen, dim=1).indices
    points = candidates.gather(1, index[..., None].expand(-1, -1, 2))
    if chosen == num_points:
        return points
    return torch.cat([points, torch.rand(len(masks), num_points - chosen, 2,
                                         device=masks.device)], dim=1)


class MaskSetLoss(BaseModule):
    """Mask2Former's loss: cross-entropy of classes, and of masks cross-entropy and dice.

    Each target is matched to one query by the cost of the same three terms; queries without a
    target learn the class "no object". Masks are compared at points, uncertain ones among them.

    Args:
        num_classes: Without "no object".
        weights: Of 'cls', 'mask' and 'dice', in the loss and in the matching.
        no_object_weight: Of the class "no object" in the cross-entropy.
        num_points: Points of each mask.
        oversample_ratio: See :func:`uncertain_points`.
        importance_sample_ratio: See :func:`uncertain_points`.
        assigner: Config of another assigner than mmseg's Hungarian one with these weights.

    Source: Mask2Former (arXiv 2112.01527), section 3.3.
    """

    def __init__(self,
                 num_classes: int,
                 weights: dict[str, float] | None = None,
                 no_object_weight: float = 0.1,
                 num_points: int = 12544,
                 oversample_ratio: float = 3.,
                 importance_sample_ratio: float = 0.75,
                 assigner: dict | None = None):
        super().__init__()
        self.num_classes, self.num_points = num_classes, num_points
        self.weights = dict(dict(cls=2., mask=5., dice=5.), **(weights or {}))
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.assigner = TASK_UTILS.build(assigner or dict(
            type='mmseg.HungarianAssigner',
            match_costs=[
                dict(type='mmseg.ClassificationCost', weight=self.weights['cls']),
                dict(type='mmseg.CrossEntropyLossCost', weight=self.weights['mask']),
                dict(type='mmseg.DiceCost', weight=self.weights['dice'], pred_act=True, eps=1.)
            ]))
        self.register_buffer('class_weight', torch.tensor(
            [1.] * num_classes + [no_object_weight]), persistent=False)

    def forward(self, classes: Sequence[Tensor], masks: Sequence[Tensor],
                targets: Sequence[InstanceData]) -> dict[str, Tensor]:
        """Losses of several predictions of one set of targets.

        Args:
            classes: Logits (B, Q, num_classes + 1) of each prediction, the last one the final.
            masks: Logits (B, Q, h, w) of each.
            targets: Of each image ``labels`` (n,) and ``masks`` (n, H, W), of 0 and 1.

        Returns:
            'loss_cls', 'loss_mask' and 'loss_dice' of the final prediction, and with 'd0.',
            'd1.' … in front of those before it.
        """
        losses = {}
        for n, (scores, logits) in enumerate(zip(classes, masks, strict=True)):
            start = '' if n == len(classes) - 1 else f'd{n}.'
            one = self.of_prediction(scores.float(), logits.float(), targets)
            losses |= {start + name: loss for name, loss in one.items()}
        return losses

    def of_prediction(self, classes: Tensor, masks: Tensor, targets: Sequence[InstanceData]
                      ) -> dict[str, Tensor]:
        """Losses of one prediction; see :meth:`forward`."""
        matched = [self.match(c, m, t) for c, m, t in zip(classes, masks, targets, strict=True)]
        labels = classes.new_full(classes.shape[:2], self.num_classes, dtype=torch.long)
        for row, (queries, index), target in zip(labels, matched, targets, strict=True):
            row[queries] = target.labels[index]
        loss_cls = F.cross_entropy(classes.flatten(0, 1), labels.flatten(), self.class_weight)
        logits = torch.cat([m[queries] for m, (queries, _) in zip(masks, matched, strict=True)])
        count = _mean_over_processes(classes.new_tensor(float(len(logits))))
        if not len(logits):
            loss_mask = loss_dice = masks.sum() * 0
        else:
            truth = torch.cat([t.masks[index].to(logits.dtype)
                               for t, (_, index) in zip(targets, matched, strict=True)])
            loss_mask, loss_dice = self._of_masks(logits, truth, count.clamp(min=1.))
        return dict(loss_cls=self.weights['cls'] * loss_cls,
                    loss_mask=self.weights['mask'] * loss_mask,
                    loss_dice=self.weights['dice'] * loss_dice)

    @torch.no_grad()
    def match(self, classes: Tensor, masks: Tensor, target: InstanceData
              ) -> tuple[Tensor, Tensor]:
        """Queries and the targets matched to them, by the least cost at random points.

        Args:
            classes: Logits (Q, num_classes + 1).
            masks: Logits (Q, h, w).
            target: Of the image.
        """
        points = torch.rand(1, self.num_points, 2, device=masks.device)
        if not len(target.labels):
            nothing = torch.zeros(0, dtype=torch.long, device=masks.device)
            return nothing, nothing
        predicted = InstanceData(scores=classes, masks=sample_points(
            masks, points.expand(len(masks), -1, -1)))
        truth = InstanceData(labels=target.labels, masks=sample_points(
            target.masks.to(masks.dtype), points.expand(len(target.masks), -1, -1)))
        return self.assigner.assign(predicted, truth)

    def _of_masks(self, logits: Tensor, truth: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and dice of mask logits (n, h, w) and masks (n, H, W) at points."""
        with torch.no_grad():
            points = uncertain_points(logits, self.num_points, self.oversample_ratio,
                                      self.importance_sample_ratio)
            truth = sample_points(truth, points)
        logits = sample_points(logits, points)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction='none')
        shares = logits.sigmoid()
        dice = 1 - (2 * (shares * truth).sum(1) + 1) / (shares.sum(1) + truth.sum(1) + 1)
        return cross_entropy.mean(1).sum() / count, dice.sum() / count


def _mean_over_processes(value: Tensor) -> Tensor:
    if get_world_size() == 1:
        return value
    all_reduce(value, 'mean')
    return value
