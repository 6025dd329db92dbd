"""Mask2Former's heads with one wait for the device in a training step."""
from __future__ import annotations

from collections.abc import Sequence

from mmdet.models.dense_heads import Mask2FormerHead as DetMask2FormerHead
from mmengine.structures import InstanceData
from mmseg.models.decode_heads import Mask2FormerHead as SegMask2FormerHead
from torch import Tensor

from mmvitlin.models.losses.mask_set import MaskSetLoss
from mmvitlin.models.losses.mask_targets import ClassMasks, InstanceMasks
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import ConfigError

_LOSSES = dict(
    cls=dict(type='CrossEntropyLoss', use_sigmoid=False, use_mask=False, reduction='mean',
             avg_non_ignore=False),
    mask=dict(type='CrossEntropyLoss', use_sigmoid=True, use_mask=False, reduction='mean',
              avg_non_ignore=False),
    dice=dict(type='DiceLoss', use_sigmoid=True, activate=True, reduction='mean',
              naive_dice=True, eps=1.0))
_MMDET = dict(  # what an option is that a config leaves out
    cls=dict(use_sigmoid=False, use_mask=False, reduction='mean', avg_non_ignore=False),
    mask=dict(use_sigmoid=False, use_mask=False, reduction='mean', avg_non_ignore=False),
    dice=dict(use_sigmoid=True, activate=True, reduction='mean', naive_dice=False, eps=1e-3))
_WEIGHTS = dict(cls={'loss_weight', 'class_weight'}, mask={'loss_weight'}, dice={'loss_weight'})


def set_loss(losses: dict[str, dict], matching: dict, key: str, usual: str) -> MaskSetLoss:
    """The loss that configs of mmdet's losses and of its matching describe.

    Args:
        losses: Configs of 'cls', 'mask' and 'dice'.
        matching: ``train_cfg``: points and costs.
        key: Of the head, in messages.
        usual: The head that takes any losses.

    Raises:
        ConfigError: it is not Mask2Former's loss, but for weights.
    """
    for name, expected in _LOSSES.items():
        given = {**_MMDET[name], **losses[name]}
        kind = given['type']
        given['type'] = kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__
        for option in (set(expected) | set(given)) - _WEIGHTS[name]:
            if given.get(option) != expected.get(option):
                raise ConfigError(
                    f"{key}.loss_{name}.{option} is {given.get(option)!r}; mmvitlin's head has "
                    f'{expected.get(option)!r} only. Other losses: {key}.type={usual!r}')
    if not losses['cls'].get('class_weight'):
        raise ConfigError(f'{key}.loss_cls.class_weight: give one for each class and one for "no '
                          'object", [1.0] * num_classes + [0.1]')
    *of_classes, of_none = losses['cls']['class_weight']
    if set(of_classes) != {1.}:
        raise ConfigError(f"{key}.loss_cls.class_weight: mmvitlin's head has 1 for every class. "
                          f'Other weights: {key}.type={usual!r}')
    if not (matching.get('assigner') or {}).get('match_costs'):
        raise ConfigError(f"{key}.train_cfg.assigner: give mmdet's HungarianAssigner with its "
                          'match_costs')
    costs = matching['assigner']['match_costs']
    return MaskSetLoss(
        len(of_classes), {name: loss.get('loss_weight', 1.) for name, loss in losses.items()},
        of_none, match_costs=costs if isinstance(costs, (list, tuple)) else [costs],
        **{name: matching[name] for name in (
            'num_points', 'oversample_ratio', 'importance_sample_ratio') if name in matching})


class _OneWait:
    """Replaces the loss of mmdet's head."""

    key, usual = 'head', ''

    def __init__(self, *args, loss_cls: dict, loss_mask: dict, loss_dice: dict,
                 train_cfg: dict | None = None, **kwargs):
        super().__init__(*args, loss_cls=loss_cls, loss_mask=loss_mask, loss_dice=loss_dice,
                         train_cfg=train_cfg, **kwargs)
        losses = dict(cls=loss_cls, mask=loss_mask, dice=loss_dice)
        self.set_loss = set_loss(losses, train_cfg, self.key, self.usual) if train_cfg else None

    def loss_by_feat(self, all_cls_scores: Sequence[Tensor], all_mask_preds: Sequence[Tensor],
                     batch_gt_instances: Sequence[InstanceData | ClassMasks],
                     batch_img_metas: Sequence[dict]) -> dict[str, Tensor]:
        """Losses of all layers' predictions; see :class:`MaskSetLoss`."""
        return self.set_loss(all_cls_scores, all_mask_preds, [
            target if isinstance(target, ClassMasks) else InstanceMasks(target.labels, target.masks)
            for target in batch_gt_instances])


@MODELS.register_module()
class Mask2FormerHead(_OneWait, SegMask2FormerHead):
    """mmseg's head; matching waits for the device once a step, and no masks of labels are made.

    mmdet's loss, which mmseg's head has, matches every image and every layer's prediction on its
    own, and the host waits several times for each. Weights have the same names, and losses the
    same values for the same random points, but for batches with an image without targets: mmdet
    counts one mask for it when it averages, Mask2Former's authors and this head none.

    Args:
        **kwargs: As mmseg's. The three losses are given, and are Mask2Former's with any weights.

    Raises:
        ConfigError: other losses.

    Source: Mask2Former (arXiv 2112.01527).
    """

    key, usual = 'decode_head', 'mmseg.Mask2FormerHead'

    def _seg_data_to_instance_data(self, batch_data_samples: Sequence
                                   ) -> tuple[list[ClassMasks], list[dict]]:
        targets = [ClassMasks(sample.gt_sem_seg.data, self.num_classes, self.ignore_index)
                   for sample in batch_data_samples]
        return targets, [sample.metainfo for sample in batch_data_samples]


@MODELS.register_module()
class Mask2FormerPanopticHead(_OneWait, DetMask2FormerHead):
    """mmdet's head, for instances and panoptic segments; see :class:`Mask2FormerHead`.

    Making masks of the labels is mmdet's and still waits for the device.

    Args:
        **kwargs: As mmdet's. The three losses are given, and are Mask2Former's with any weights.

    Raises:
        ConfigError: other losses.

    Source: Mask2Former (arXiv 2112.01527).
    """

    key, usual = 'panoptic_head', 'mmdet.Mask2FormerHead'
