"""Similarities of tokens to a few anchors, as distributions."""
from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.models.losses.base import Objective, check_grids
from mmvitlin.ops.precision import no_autocast
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import ConfigError


@MODELS.register_module()
class TokenSimilarityLoss(Objective):
    """KL divergence of softmax similarities to anchors that are drawn from the teacher's tokens.

    With q anchors a_j, patches of the teacher at random places of the same image, all vectors of
    unit length::

        p_i = softmax_j( t_i · a_j / T ),    r_i = softmax_j( s_i · a_j / T )
        L = 1/L Σ_i KL( p_i ‖ r_i )

    Time and memory are O(L q d) and O(L q). Student tokens are mapped to the teacher's width.

    Args:
        num_anchors: q; all patches where there are fewer.
        temperature: T.
        **kwargs: See :class:`Objective`.

    Raises:
        ConfigError: no anchor, or T is not positive.

    Source: SEED (arXiv 2101.04731), with tokens for images, random draws instead of its queue, and
    one temperature for both sides.
    """
    needs_width = True
    needs_uniform = True

    def __init__(self, num_anchors: int = 64, temperature: float = 0.07, **kwargs):
        super().__init__(**kwargs)
        if num_anchors < 1 or num_anchors != int(num_anchors) or not temperature > 0:
            raise ConfigError('num_anchors must be a whole number from 1 and temperature positive, '
                              f'got {num_anchors} and {temperature}')
        self.num_anchors, self.temperature = int(num_anchors), temperature

    def compare(self, student: Tokens, teacher: Tokens, mask: Tensor | None, index: int,
                uniform: Tensor | None = None) -> Tensor:
        """Mean over images and patches, masked ones too.

        Raises:
            ValueError: grids differ, or no random numbers are given.
        """
        check_grids(student, teacher, 'token similarity')
        if uniform is None:
            raise ValueError('token similarity draws anchors: give uniform=torch.rand(B, L)')
        with no_autocast(student.patches):
            s, t = (F.normalize(x.patches.float(), dim=-1) for x in (student, teacher))
            places = uniform.argsort(dim=1)[:, :self.num_anchors, None]
            anchors = t.gather(1, places.expand(-1, -1, t.shape[-1]))
            of_student, of_teacher = (
                F.log_softmax(x @ anchors.mT / self.temperature, dim=-1) for x in (s, t))
            return F.kl_div(of_student, of_teacher, reduction='none',
                            log_target=True).sum(-1).mean()
