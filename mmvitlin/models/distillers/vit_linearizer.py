"""ViT-Linearizer: activation matching and masked prediction."""
from __future__ import annotations

import math

from torch import Tensor

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
        objectives: See :class:`Distiller`.
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

    def random_mask(self, batch: int, length: int, device) -> Tensor | None:
        """bool (batch, length) with the same number of true in every row, or None."""
        if not self.mask_ratio:
            return None
        count = min(math.ceil(self.mask_ratio * length), length - 1)
        order = self.uniform(batch, length, device).argsort(dim=1)
        return order < count
