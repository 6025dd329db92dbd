"""Activation matching: token-similarity maps of student and teacher, stage by stage."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.ops import cosine_map_distance
from mmvitlin.registry import MODELS


@MODELS.register_module()
class ActivationMatchingLoss(nn.Module):
    """Match the cosine-similarity maps of tokens at the end of K stages.

    With ``A^k(i,j) = cos(f^k(i), f^k(j))`` after stage k and each row divided by its norm::

        L_act = 1 / (K L) Σ_k Σ_i (1 − < Ā_tea^k(i,:), Ā_stu^k(i,:) >)

    Maps of L×L are never built where there are more tokens than channels: see
    :func:`mmvitlin.ops.cosine_map_distance`. Widths of student and teacher may differ.

    Args:
        num_stages: K; depths of student and teacher are each cut into K equal stages.
        scope: 'visible' matches among unmasked patches, 'all' among all patches, 'cls'
            only the class token's similarities to the visible patches.
        form: 'auto', 'linear' or 'pairwise'.
        loss_weight: Multiplies the loss.

    Raises:
        ValueError: an unknown scope.

    Source: ViT-Linearizer (arXiv 2504.00037).

    Example:
        >>> features = [Tokens(torch.rand(2, 12, 8), torch.rand(2, 8), (3, 4))]
        >>> float(ActivationMatchingLoss(num_stages=1)(features, features))
        0.0
    """
    SCOPES = ('visible', 'all', 'cls')
    needs_width = False
    needs_mask = False

    def __init__(self,
                 num_stages: int = 4,
                 scope: str = 'visible',
                 form: str = 'auto',
                 loss_weight: float = 1.0):
        super().__init__()
        if scope not in self.SCOPES:
            raise ValueError(f"scope must be one of {self.SCOPES}, got '{scope}'")
        self.num_stages, self.scope, self.form = num_stages, scope, form
        self.loss_weight = loss_weight

    def layers(self, depth: int) -> tuple[int, ...]:
        """Last block of each stage in a network of ``depth`` blocks.

        Raises:
            ValueError: more stages than blocks.
        """
        if not 1 <= self.num_stages <= depth:
            raise ValueError(f'num_stages={self.num_stages} does not fit a network of {depth} '
                             f'blocks; take 1 to {depth}')
        return tuple((k + 1) * depth // self.num_stages - 1 for k in range(self.num_stages))

    def forward(self,
                student: Sequence[Tokens],
                teacher: Sequence[Tokens],
                mask: Tensor | None = None) -> Tensor:
        """Mean distance over stages, images and rows.

        Args:
            student: K Tokens, after the blocks of :meth:`layers`.
            teacher: K Tokens of the same grid.
            mask: bool (B, L), true where the student saw the mask token; the same number
                in every image. None: all are visible.

        Returns:
            Scalar in [0, loss_weight].

        Raises:
            ValueError: grids differ, or the class token is asked for and absent.
        """
        keep = None if mask is None or self.scope == 'all' else _visible_indices(mask)
        total = 0.
        for s, t in zip(student, teacher, strict=True):
            if s.patches.shape[:2] != t.patches.shape[:2]:
                raise ValueError(f'student grid {s.grid} and teacher grid {t.grid} differ; '
                                 'activation matching compares token by token')
            sp, tp = (x.patches if keep is None else _take(x.patches, keep) for x in (s, t))
            if self.scope == 'cls':
                total = total + self._class_rows(s.cls, sp, t.cls, tp).mean()
            else:
                total = total + cosine_map_distance(sp, tp, form=self.form).mean()
        return self.loss_weight * total / len(student)

    @staticmethod
    def _class_rows(s_cls, s_patches, t_cls, t_patches) -> Tensor:
        if s_cls is None or t_cls is None:
            raise ValueError("scope='cls' needs a class token in student and teacher; "
                             "take scope='visible'")
        s_row = F.cosine_similarity(s_patches.float(), s_cls.float()[:, None], dim=-1)
        t_row = F.cosine_similarity(t_patches.float(), t_cls.float()[:, None], dim=-1)
        return 1 - F.cosine_similarity(s_row, t_row, dim=-1)


def _visible_indices(mask: Tensor) -> Tensor:
    """Indices of the unmasked patches, (B, V)."""
    visible = int((~mask[0]).sum())
    if not visible:
        raise ValueError('the mask hides every token; nothing visible is left to compare')
    return torch.argsort(mask.to(torch.uint8), dim=1, stable=True)[:, :visible]


def _take(x: Tensor, indices: Tensor) -> Tensor:
    return x.gather(1, indices[..., None].expand(-1, -1, x.shape[-1]))
