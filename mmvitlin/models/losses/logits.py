"""Class scores: the student's distribution over classes against the teacher's."""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.numbers import number


@MODELS.register_module()
class LogitLoss(nn.Module):
    """``T² · KL(softmax(teacher / T) ‖ softmax(student / T))`` of class scores.

    One score is that of a class against its absence: ``sigmoid(x / T) = softmax((0, x) / T)``.

    Args:
        temperature: T.
        loss_weight: Multiplies the loss.

    Raises:
        ConfigError: T is not positive.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network (arXiv 1503.02531).
    """

    def __init__(self, temperature: float = 1., loss_weight: float = 1.0):
        super().__init__()
        number('temperature', temperature, above=0)
        number('loss_weight', loss_weight, least=0)
        self.temperature, self.loss_weight = temperature, loss_weight

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean over images, and over places where scores are maps.

        Args:
            student: (B, K), or maps (B, K, h, w) of any size, which are resized to the teacher's.
            teacher: (B, K) or (B, K, H, W).

        Returns:
            Scalar.

        Raises:
            ConfigError: the numbers of scores differ.
        """
        if student.shape[1] != teacher.shape[1]:
            raise ConfigError(f'the teacher gives {teacher.shape[1]} scores and the student '
                              f'{student.shape[1]}; give their heads the same num_classes and '
                              'out_channels')
        student, teacher, t = student.float(), teacher.float(), self.temperature
        if student.shape[1] == 1:
            student, teacher = (torch.cat([torch.zeros_like(x), x], 1) for x in (student, teacher))
        if student.shape[2:] != teacher.shape[2:]:
            student = F.interpolate(student, teacher.shape[2:], mode='bilinear',
                                    align_corners=False)
        each = F.kl_div(F.log_softmax(student / t, 1), F.log_softmax(teacher / t, 1),
                        reduction='none', log_target=True).sum(1)
        return self.loss_weight * (t**2 * each.mean())
