"""Loss of a set of masks with classes, matched to the labels one to one."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModule
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mmvitlin.models.losses.mask_targets import ClassMasks, InstanceMasks, sample_points
from mmvitlin.ops.precision import no_autocast
from mmvitlin.utils.errors import ConfigError

Targets = Sequence[InstanceMasks | ClassMasks]


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
        match_costs: Configs of other costs than those of mmseg with these weights.

    Raises:
        ConfigError: weights of other names, or ratios that choose more points than there are.

    Source: Mask2Former (arXiv 2112.01527), section 3.3.
    """

    def __init__(self,
                 num_classes: int,
                 weights: dict[str, float] | None = None,
                 no_object_weight: float = 0.1,
                 num_points: int = 12544,
                 oversample_ratio: float = 3.,
                 importance_sample_ratio: float = 0.75,
                 match_costs: Sequence[dict] | None = None):
        super().__init__()
        if unknown := sorted(set(weights or {}) - {'cls', 'mask', 'dice'}):
            raise ConfigError(f"loss.weights has {unknown}; there are 'cls', 'mask' and 'dice'")
        if not 0 <= importance_sample_ratio <= min(1, oversample_ratio):
            raise ConfigError(
                f'loss.importance_sample_ratio={importance_sample_ratio} must be 0 to 1 and at '
                f'most loss.oversample_ratio={oversample_ratio}: points are chosen among these')
        self.num_classes, self.num_points = num_classes, num_points
        self.weights = dict(dict(cls=2., mask=5., dice=5.), **(weights or {}))
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.match_costs = [TASK_UTILS.build(cost) for cost in match_costs or (
            dict(type='mmseg.ClassificationCost', weight=self.weights['cls']),
            dict(type='mmseg.CrossEntropyLossCost', weight=self.weights['mask']),
            dict(type='mmseg.DiceCost', weight=self.weights['dice'], pred_act=True, eps=1.))]
        self.register_buffer('class_weight', torch.tensor(
            [1.] * num_classes + [no_object_weight]), persistent=False)

    def forward(self, classes: Sequence[Tensor], masks: Sequence[Tensor],
                targets: Targets) -> dict[str, Tensor]:
        """Losses of several predictions of one set of targets.

        Args:
            classes: Logits (B, Q, num_classes + 1) of each prediction, the last one the final.
            masks: Logits (B, Q, h, w) of each.
            targets: Of each image.

        Returns:
            'loss_cls', 'loss_mask' and 'loss_dice' of the final prediction, and with 'd0.',
            'd1.' … in front of those before it.
        """
        classes, masks = [c.float() for c in classes], [m.float() for m in masks]
        matches = self.match(classes, masks, targets)
        losses = {}
        for n, (scores, logits, matched) in enumerate(zip(classes, masks, matches, strict=True)):
            start = '' if n == len(classes) - 1 else f'd{n}.'
            one = self.of_prediction(scores, logits, targets, matched)
            losses |= {start + name: loss for name, loss in one.items()}
        return losses

    def of_prediction(self, classes: Tensor, masks: Tensor, targets: Targets,
                      matched: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Losses of one prediction (B, …), whose images' queries are matched to targets."""
        labels = classes.new_full(classes.shape[:2], self.num_classes, dtype=torch.long)
        for row, (queries, index), target in zip(labels, matched, targets, strict=True):
            row[queries] = target.labels[index]
        loss_cls = F.cross_entropy(classes.flatten(0, 1), labels.flatten(),
                                   self.class_weight.to(classes))
        logits = torch.cat([m[queries] for m, (queries, _) in zip(masks, matched, strict=True)])
        count = _mean_over_processes(classes.new_full((), len(logits)))
        if not len(logits):
            loss_mask = loss_dice = masks.sum() * 0
        else:
            with torch.no_grad():
                points = uncertain_points(logits, self.num_points, self.oversample_ratio,
                                          self.importance_sample_ratio)
                parts = points.split([len(queries) for queries, _ in matched])
                truth = torch.cat([target.of(index, part) for target, (_, index), part in zip(
                    targets, matched, parts, strict=True)])
            loss_mask, loss_dice = _of_points(sample_points(logits, points), truth,
                                              count.clamp(min=1.))
        return dict(loss_cls=self.weights['cls'] * loss_cls,
                    loss_mask=self.weights['mask'] * loss_mask,
                    loss_dice=self.weights['dice'] * loss_dice)

    @torch.no_grad()
    def match(self, classes: Sequence[Tensor], masks: Sequence[Tensor],
              targets: Targets) -> list[list[tuple[Tensor, Tensor]]]:
        """Queries and the targets matched to them, by the least cost at random points.

        The host waits for the device once: for the costs of all predictions and images, and for
        the classes that label maps show.

        Args:
            classes: Logits (B, Q, num_classes + 1) of each prediction.
            masks: Logits (B, Q, h, w) of each.
            targets: Of each image.

        Returns:
            Of each prediction and image the indices (n,) of queries and of targets.
        """
        costs = [self.costs(c, m, t) for scores, logits in zip(classes, masks, strict=True)
                 for c, m, t in zip(scores, logits, targets, strict=True)]
        present = [target.present for target in targets if target.present is not None]
        parts = [part.flatten().to(costs[0]) for part in (*costs, *present)]
        numbers = torch.cat(parts).cpu().split([len(part) for part in parts])
        shown = iter(numbers[len(costs):])
        columns = [torch.arange(len(target.labels)) if target.present is None
                   else next(shown).nonzero()[:, 0] for target in targets]
        pairs = []
        for n, (cost, values) in enumerate(zip(costs, numbers, strict=False)):
            some = columns[n % len(targets)]
            # what is not finite gets any partner: the loss says it, and FiniteLossHook decides
            values = values.view(cost.shape)[:, some].nan_to_num(1e9, 1e9, -1e9)
            queries, index = linear_sum_assignment(values.numpy())
            pairs.append(torch.stack((torch.as_tensor(queries), some[torch.as_tensor(index)])))
        where = torch.cat(pairs, 1).to(classes[0].device, non_blocking=True)
        found = [(part[0], part[1]) for part in where.split([p.shape[1] for p in pairs], 1)]
        images = len(targets)
        return [found[n:n + images] for n in range(0, len(found), images)]

    def costs(self, classes: Tensor, masks: Tensor, target: InstanceMasks | ClassMasks) -> Tensor:
        """Of matching queries to the targets of an image (Q, n), at random points.

        Args:
            classes: Logits (Q, num_classes + 1).
            masks: Logits (Q, h, w).
            target: Of the image.
        """
        points = torch.rand(1, self.num_points, 2, device=masks.device)
        if not len(target.labels):
            return masks.new_zeros(len(masks), 0)
        predicted = InstanceData(scores=classes, masks=sample_points(
            masks, points.expand(len(masks), -1, -1)))
        truth = InstanceData(labels=target.labels, masks=target.at(points[0]))
        with no_autocast(masks):
            return torch.stack([cost(pred_instances=predicted, gt_instances=truth)
                                for cost in self.match_costs]).sum(0)


def _of_points(logits: Tensor, truth: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and dice of mask logits (n, P) and masks (n, P), summed over ``count``."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction='none')
    shares = logits.sigmoid()
    dice = 1 - (2 * (shares * truth).sum(1) + 1) / (shares.sum(1) + truth.sum(1) + 1)
    return cross_entropy.mean(1).sum() / count, dice.sum() / count


def _mean_over_processes(value: Tensor) -> Tensor:
    if get_world_size() == 1:
        return value
    all_reduce(value, 'mean')
    return value
