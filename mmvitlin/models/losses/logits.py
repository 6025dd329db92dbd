"""Class scores: the student's distribution over classes against the teacher's."""
from __future__ import annotations

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import ConfigError


@MODELS.register_module()
class LogitLoss(nn.Module):
    """``T² · KL(softmax(teacher / T) ‖ softmax(student / T))`` of class scores.

    Args:
        temperature: T.
        loss_weight: Multiplies the loss.

    Raises:
        ConfigError: T is not positive.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network (arXiv 1503.02531).
    """

    def __init__(self, temperature: float = 1., loss_weight: float = 1.0):
        super().__init__()
        if temperature <= 0:
            raise ConfigError(f'temperature must be positive, got {temperature}')
        self.temperature, self.loss_weight = temperature, loss_weight

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean over images, and over places where scores are maps.

        Args:
            student: (B, K), or maps (B, K, h, w) of any size, which are resized to the teacher's.
            teacher: (B, K) or (B, K, H, W).

        Returns:
            Scalar.
        """
        student, teacher, t = student.float(), teacher.float(), self.temperature
        if student.shape[2:] != teacher.shape[2:]:
            student = F.interpolate(student, teacher.shape[2:], mode='bilinear',
                                    align_corners=False)
        each = F.kl_div(F.log_softmax(student / t, 1), F.log_softmax(teacher / t, 1),
                        reduction='none', log_target=True).sum(1)
        return self.loss_weight * (t**2 * each.mean())
