"""Masked prediction of the teacher's features."""
from __future__ import annotations

from torch import Tensor

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.models.losses.features import FeatureObjective
from mmvitlin.registry import MODELS
from mmvitlin.utils.numbers import number


@MODELS.register_module()
class MaskedPredictionLoss(FeatureObjective):
    """Smooth L1 between final features at masked positions.

    ``L_mask = 1/(a L) Σ_{i masked} SmoothL1(Y_tea(i), Y_stu(i))``, mean over images, the teacher
    seeing the whole image, the student a mask token at i. With ``visible_weight`` γ the same mean
    over the tokens that the student saw is added, times γ. An image with nothing masked adds
    nothing to the first mean.

    Args:
        normalize_target: See :class:`FeatureObjective`; layer norm by default, so that
            channels of very different size count alike (mmvitlin's choice).
        beta: Where smooth L1 turns from square to linear.
        loss_weight: λ.
        visible_weight: γ.
        distance: See :class:`FeatureObjective`.
        **kwargs: See :class:`Objective`.

    Raises:
        ConfigError: a negative γ, or an unknown distance or normalisation.

    Source: ViT-Linearizer (arXiv 2504.00037); the term for visible tokens is an option of mmvitlin.
    """
    needs_mask = True

    def __init__(self,
                 normalize_target: bool | str | dict = True,
                 beta: float = 1.0,
                 loss_weight: float = 1.0,
                 visible_weight: float = 0.0,
                 distance: str | dict[str, float] = 'smooth_l1',
                 **kwargs):
        super().__init__(distance, normalize_target, beta, loss_weight=loss_weight, **kwargs)
        number('visible_weight', visible_weight, least=0)
        self.visible_weight = visible_weight

    def compare(self, student: Tokens, teacher: Tokens, mask: Tensor | None, index: int) -> Tensor:
        """Mean over images of the mean over masked tokens and channels.

        Raises:
            ValueError: no mask, or shapes that differ.
        """
        if mask is None:
            raise ValueError('masked prediction needs a mask; set mask_ratio above 0')
        each = self.distances(student.patches, teacher.patches, index)
        loss = _mean_of(each, mask)
        return loss + self.visible_weight * _mean_of(each, ~mask) if self.visible_weight else loss


def _mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean over images of the mean over chosen tokens, both (B, L); 0 where none is."""
    share = chosen / chosen.sum(1, keepdim=True).clamp_min(1)
    return (values * share).sum(1).mean()
