"""Masked prediction of the teacher's final features."""
from __future__ import annotations

from collections.abc import Sequence

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.registry import MODELS


@MODELS.register_module()
class MaskedPredictionLoss(nn.Module):
    """Smooth L1 between final features at masked positions.

    ``L_mask = 1/(a L) Σ_{i masked} SmoothL1(Y_tea(i), Y_stu(i))``, the teacher seeing the
    whole image, the student a mask token at i.

    Args:
        normalize_target: Layer-norm the teacher's tokens without affine first, so that
            channels of very different size count alike (our choice).
        beta: Where smooth L1 turns from square to linear.
        loss_weight: λ.

    Source: ViT-Linearizer (arXiv 2504.00037).
    """
    needs_width = True
    needs_mask = True

    def __init__(self, normalize_target: bool = True, beta: float = 1.0, loss_weight: float = 1.0):
        super().__init__()
        self.normalize_target, self.beta, self.loss_weight = normalize_target, beta, loss_weight

    def layers(self, depth: int) -> tuple[int, ...]:
        """The last block only."""
        return (depth - 1, )

    def forward(self,
                student: Sequence[Tokens],
                teacher: Sequence[Tokens],
                mask: Tensor | None = None) -> Tensor:
        """Mean over masked tokens and channels.

        Args:
            student: One Tokens, already of the teacher's width.
            teacher: One Tokens of the same grid.
            mask: bool (B, L), true where the student saw the mask token.

        Returns:
            Scalar.

        Raises:
            ValueError: no mask or an empty one, or shapes that differ.
        """
        if mask is None:
            raise ValueError('masked prediction needs a mask; set mask_ratio above 0')
        prediction, target = student[-1].patches, teacher[-1].patches
        if prediction.shape != target.shape:
            raise ValueError(f'student features {tuple(prediction.shape)} and teacher features '
                             f'{tuple(target.shape)} differ')
        prediction, target = prediction[mask].float(), target[mask].float()
        if not len(prediction):
            raise ValueError('the mask hides no token, so there is nothing to predict')
        if self.normalize_target:
            target = F.layer_norm(target, target.shape[-1:])
        return self.loss_weight * F.smooth_l1_loss(prediction, target, beta=self.beta)
