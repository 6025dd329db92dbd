"""ViT-Linearizer: activation matching and masked prediction."""
from __future__ import annotations

import math

import torch
from torch import Tensor

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.models.distillers.base import Distiller
from mmvitlin.registry import MODELS


@MODELS.register_module()
class ViTLinearizer(Distiller):
    """Distil a ViT into a linear-time student without labels.

    The teacher sees the whole image, the student one with ``mask_ratio`` of its patches
    replaced by a learned token; each objective compares their tokens.

    Args:
        mask_ratio: Share of patches masked for the student, uniformly at random, in
            [0, 1); 0 for none.
        backbone: See :class:`Distiller`.
        teacher: See :class:`Distiller`.
        objectives: See :class:`Distiller`; losses are called ``loss(student, teacher,
            mask)`` with the Tokens of the layers they name in ``layers(depth)``.
        **kwargs: See :class:`Distiller`.

    Raises:
        ValueError: a ratio outside [0, 1), or a masked objective without masks.

    Source: ViT-Linearizer (arXiv 2504.00037, ICCV 2025).
    """

    def __init__(self,
                 backbone: dict,
                 teacher: dict,
                 objectives: dict[str, dict | None],
                 mask_ratio: float = 0.75,
                 **kwargs):
        super().__init__(backbone, teacher, objectives, **kwargs)
        if not 0 <= mask_ratio < 1:
            raise ValueError(f'mask_ratio must be in [0, 1), got {mask_ratio}')
        self.mask_ratio = mask_ratio
        for name, loss in self.objectives.items():
            if loss.needs_mask and not mask_ratio:
                raise ValueError(f'objectives.{name} needs masks, but mask_ratio is 0; raise it, '
                                 f'or drop the objective with {name}=None')
        if mask_ratio:
            self.backbone.enable_masking()
        # both sides' layers are settled here, so a stage count that does not fit fails at once
        self._student_layers, self._teacher_layers = self.student_layers(), self.teacher_layers()

    def random_mask(self, batch: int, length: int, device) -> Tensor | None:
        """bool (batch, length) with the same number of true in every row, or None."""
        if not self.mask_ratio:
            return None
        count = min(math.ceil(self.mask_ratio * length), length - 1)
        order = torch.rand(batch, length, device=device).argsort(dim=1)
        return order < count

    def distill(self, images: Tensor) -> dict[str, Tensor]:
        """Losses of a batch (B, 3, H, W), by objective."""
        side = self.backbone.patch_size
        grid = tuple(-(-n // side) for n in images.shape[-2:])
        mask = self.random_mask(len(images), grid[0] * grid[1], images.device)

        asked_s = sorted({i for layers in self._student_layers.values() for i in layers})
        asked_t = sorted({i for layers in self._teacher_layers.values() for i in layers})
        student = dict(zip(asked_s, self.backbone.forward_tokens(images, asked_s, mask),
                           strict=True))
        teacher = dict(zip(asked_t, self.teacher_tokens(images, asked_t, grid), strict=True))

        losses = {}
        for name, loss in self.objectives.items():
            ours = [student[i] for i in self._student_layers[name]]
            if loss.needs_width:
                ours = [self._project(tokens) for tokens in ours]
            losses[name] = loss(ours, [teacher[i] for i in self._teacher_layers[name]], mask)
        return losses

    def _project(self, tokens: Tokens) -> Tokens:
        cls = None if tokens.cls is None else self.projector(tokens.cls)
        return Tokens(self.projector(tokens.patches), cls, tokens.grid)
