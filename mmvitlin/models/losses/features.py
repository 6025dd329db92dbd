"""Shared parts of objectives that compare features channel by channel."""
from __future__ import annotations

from collections.abc import Sequence

import torch.nn as nn
from torch import Tensor

from mmvitlin.models.losses.base import Objective
from mmvitlin.models.losses.distances import distance_weights, token_distance
from mmvitlin.models.losses.target_norm import TargetStandardizer, layer_norm, target_norm_cfg
from mmvitlin.utils.numbers import number


class FeatureObjective(Objective):
    """Base of objectives that compare features channel by channel.

    Args:
        distance: 'mse', 'cosine' (one minus the cosine of each token), 'smooth_l1', or a mix of
            them, such as ``dict(cosine=0.9, smooth_l1=0.1)`` (AM-RADIO, arXiv 2312.06709).
        normalize_target: What is done to the teacher's tokens first. True or 'layer_norm': layer
            norm without affine; 'phi_s' or 'standardize': see :class:`TargetStandardizer`, with
            options as ``dict(type='phi_s', num_batches=16)``; False: nothing.
        beta: Where 'smooth_l1' turns from square to linear.
        **kwargs: See :class:`Objective`.

    Raises:
        ConfigError: an unknown distance or normalisation, or beta is not positive.
    """
    needs_width = True

    def __init__(self,
                 distance: str | dict[str, float],
                 normalize_target: bool | str | dict,
                 beta: float,
                 **kwargs):
        super().__init__(**kwargs)
        number('beta', beta, above=0)
        self.mix, self.beta = distance_weights(distance), beta
        self._norm = target_norm_cfg(normalize_target)
        self.target_norms: nn.ModuleList | None = None

    def connect(self, student_dims: Sequence[int], teacher_dims: Sequence[int]) -> None:
        """See :meth:`Objective.connect`."""
        super().connect(student_dims, teacher_dims)
        if self._norm is not None and self._norm['type'] != 'layer_norm':
            options = {k: v for k, v in self._norm.items() if k != 'type'}
            self.target_norms = nn.ModuleList(
                TargetStandardizer(dims, self._norm['type'], **options) for dims in teacher_dims)

    def distances(self, prediction: Tensor, target: Tensor, index: int) -> Tensor:
        """Of each token, (B, L, C) to (B, L), float32.

        Raises:
            ValueError: shapes differ, or a standardised target and no :meth:`connect` before.
        """
        if prediction.shape != target.shape:
            raise ValueError(f'student features {tuple(prediction.shape)} and teacher features '
                             f'{tuple(target.shape)} differ')
        prediction, target = prediction.float(), target.float()
        if self.target_norms is not None:
            self.target_norms[index].observe(target)
            prediction, target = self.target_norms[index](prediction, target)
        elif self._norm is not None:
            if self._norm['type'] != 'layer_norm':
                raise ValueError("call connect(student_dims, teacher_dims) before a loss with "
                                 f"normalize_target='{self._norm['type']}' is used by itself")
            target = layer_norm(target)
        return token_distance(prediction, target, self.mix, self.beta)
