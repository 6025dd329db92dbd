"""ViT-Linearizer: activation matching and masked prediction."""
from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from mmvitlin.models.distillers.distiller import Distiller
from mmvitlin.models.distillers.step_draws import RATIO, UNMASKED, StepDraws
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.numbers import number


@MODELS.register_module()
class ViTLinearizer(Distiller):
    """Distil a ViT into a linear-time student without labels.

    The teacher sees the whole image, the student one with ``mask_ratio`` of its patches
    replaced by a learned token; each objective compares their tokens.

    Args:
        mask_ratio: Share of patches masked for the student, uniformly at random, in
            [0, 1); 0 for none. Two numbers are a range from which every step draws.
        unmasked_images: Probability that an image is shown whole, in [0, 1).
        backbone: See :class:`Distiller`.
        teacher: See :class:`Distiller`.
        objectives: See :class:`Distiller`.
        **kwargs: See :class:`Distiller`.

    Raises:
        ValueError: a ratio or probability outside [0, 1), or a masked objective without masks.

    Source: ViT-Linearizer (arXiv 2504.00037, ICCV 2025), with one ratio; a range and whole images
    are mmvitlin's options.
    """

    def __init__(self,
                 backbone: dict,
                 teacher: dict,
                 objectives: dict[str, dict | None],
                 mask_ratio: float | Sequence[float] = 0.75,
                 unmasked_images: float = 0.,
                 **kwargs):
        super().__init__(backbone, teacher, objectives, **kwargs)
        is_range = isinstance(mask_ratio, (list, tuple))
        limits = tuple(mask_ratio) if is_range else (mask_ratio, ) * 2
        if len(limits) != 2 or not all(type(n) in (int, float) for n in limits) or not (
                0 <= limits[0] <= limits[1] < 1):
            raise ConfigError('mask_ratio must be in [0, 1), or a range (low, high) in it, got '
                              f'{mask_ratio!r}')
        number('unmasked_images', unmasked_images, least=0, below=1)
        self.mask_limits, self.unmasked_images = limits, unmasked_images
        for name, loss in self.objectives.items():
            if loss.needs_mask and not limits[1]:
                raise ValueError(f'objectives.{name} needs masks, but mask_ratio is 0; raise it, '
                                 f'or drop the objective with {name}=None')
        if limits[1]:
            self.backbone.enable_masking()

    def draw_mask(self, batch: int, length: int, device, draws: StepDraws
                  ) -> tuple[Tensor | None, int | None]:
        """See :class:`Distiller`; masked rows have the same number of true."""
        low, high = self.mask_limits
        if not high:
            return None, None
        ratio = low + (high - low) * draws.common_uniform(RATIO) if low < high else high
        count = min(math.ceil(round(ratio * length, 6)), length - 1)
        order = draws.uniform(batch, length, device).argsort(dim=1)
        mask = order < count
        if not self.unmasked_images:
            return mask, length - count
        shown = draws.uniform(batch, 1, device, UNMASKED) < self.unmasked_images
        return mask & ~shown, None
