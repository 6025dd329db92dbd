"""Feature alignment: the student's final features against the teacher's."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.registry import MODELS


@MODELS.register_module()
class FeatureAlignmentLoss(nn.Module):
    """Distance between final features, token by token.

    Args:
        distance: 'mse', 'cosine' (one minus the cosine of each token), or 'smooth_l1'.
        tokens: 'all' compares patches and, where both networks have one, the class token;
            'patches' or 'cls' only those.
        normalize_target: Layer-norm the teacher's tokens without affine first.
        beta: Where 'smooth_l1' turns from square to linear.
        loss_weight: Multiplies the loss.

    Raises:
        ValueError: an unknown distance or choice of tokens.

    Source: ViT-AdaLA (arXiv 2603.16063), second stage, with 'mse'; the plain final-feature L2
    of GTR (arXiv 2609.26590) is the same loss into another student.
    """
    DISTANCES = ('mse', 'cosine', 'smooth_l1')
    TOKENS = ('all', 'patches', 'cls')
    needs_width = True
    needs_mask = False

    def __init__(self,
                 distance: str = 'mse',
                 tokens: str = 'all',
                 normalize_target: bool = False,
                 beta: float = 1.0,
                 loss_weight: float = 1.0):
        super().__init__()
        if distance not in self.DISTANCES:
            raise ValueError(f"distance must be one of {self.DISTANCES}, got '{distance}'")
        if tokens not in self.TOKENS:
            raise ValueError(f"tokens must be one of {self.TOKENS}, got '{tokens}'")
        self.distance, self.tokens, self.beta = distance, tokens, beta
        self.normalize_target, self.loss_weight = normalize_target, loss_weight

    def layers(self, depth: int) -> tuple[int, ...]:
        """The last block only."""
        return (depth - 1, )

    def forward(self,
                student: Sequence[Tokens],
                teacher: Sequence[Tokens],
                mask: Tensor | None = None) -> Tensor:
        """Mean over tokens (and channels, but for 'cosine').

        Args:
            student: One Tokens, already of the teacher's width.
            teacher: One Tokens of the same grid.
            mask: Not used: every token is compared.

        Returns:
            Scalar.

        Raises:
            ValueError: shapes differ, or the class token is asked for and absent.
        """
        ours, target = (self._chosen(side[-1]) for side in (student, teacher))
        if self.tokens == 'all' and ours.shape[1] != target.shape[1]:  # one has no class token
            ours, target = student[-1].patches, teacher[-1].patches
        if ours.shape != target.shape:
            raise ValueError(f'student features {tuple(ours.shape)} and teacher features '
                             f'{tuple(target.shape)} differ')
        ours, target = ours.float(), target.float()
        if self.normalize_target:
            target = F.layer_norm(target, target.shape[-1:])
        if self.distance == 'mse':
            loss = F.mse_loss(ours, target)
        elif self.distance == 'smooth_l1':
            loss = F.smooth_l1_loss(ours, target, beta=self.beta)
        else:
            loss = (1 - F.cosine_similarity(ours, target, dim=-1)).mean()
        return self.loss_weight * loss

    def _chosen(self, tokens: Tokens) -> Tensor:
        if self.tokens == 'cls':
            if tokens.cls is None:
                raise ValueError("tokens='cls' needs a class token in student and teacher; take "
                                 "tokens='patches'")
            return tokens.cls[:, None]
        if self.tokens == 'patches' or tokens.cls is None:
            return tokens.patches
        return torch.cat([tokens.patches, tokens.cls[:, None]], dim=1)
