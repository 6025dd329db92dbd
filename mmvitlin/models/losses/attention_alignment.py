"""Attention alignment: a linear attention's output against the softmax attention's."""
from __future__ import annotations

import torch.nn as nn
from torch import Tensor

from mmvitlin.models.losses.distances import mean_square
from mmvitlin.registry import MODELS
from mmvitlin.utils.numbers import number


@MODELS.register_module()
class AttentionAlignmentLoss(nn.Module):
    """Mean squared error between one block's two attention outputs on the same input.

    Args:
        relative: Divide by the mean square of the teacher's output, so that every block
            counts alike whatever the size of its activations. Matters where gradients are
            clipped over all blocks together; the published form does not.
        loss_weight: Multiplies the loss.

    Source: ViT-AdaLA (arXiv 2603.16063), first stage.
    """

    def __init__(self, relative: bool = False, loss_weight: float = 1.0):
        super().__init__()
        number('loss_weight', loss_weight, least=0)
        self.relative, self.loss_weight = relative, loss_weight

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare the outputs after the output projection and before the residual.

        Args:
            student: (B, L, C).
            teacher: (B, L, C).

        Returns:
            Scalar.

        Raises:
            ValueError: shapes differ.
        """
        if student.shape != teacher.shape:
            raise ValueError(f'attention outputs {tuple(student.shape)} and '
                             f'{tuple(teacher.shape)} differ')
        loss = mean_square(student - teacher)
        if self.relative:
            loss = loss / mean_square(teacher).clamp_min(1e-12)
        return self.loss_weight * loss
