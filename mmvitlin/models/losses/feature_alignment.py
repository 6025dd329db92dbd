"""Feature alignment: the student's features against the teacher's."""
from __future__ import annotations

import torch
from torch import Tensor

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.models.losses.features import FeatureObjective
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import ConfigError


@MODELS.register_module()
class FeatureAlignmentLoss(FeatureObjective):
    """Distance between features, token by token, after the last layer or several.

    Args:
        distance: See :class:`FeatureObjective`.
        tokens: 'all' compares patches and, where both networks have one, the class token;
            'patches' or 'cls' only those.
        normalize_target: See :class:`FeatureObjective`.
        beta: See :class:`FeatureObjective`.
        loss_weight: Multiplies the loss.
        **kwargs: See :class:`Objective`; several ``layers`` are compared each with
            its own of the teacher (FitNets, arXiv 1412.6550), with ``projector='linear'`` through
            one head each.

    Raises:
        ConfigError: an unknown distance, normalisation or choice of tokens.

    Source: ViT-AdaLA (arXiv 2603.16063), second stage, with 'mse'; the plain final-feature L2
    of GTR (arXiv 2609.26590) is the same loss into another student.
    """
    TOKENS = ('all', 'patches', 'cls')

    def __init__(self,
                 distance: str | dict[str, float] = 'mse',
                 tokens: str = 'all',
                 normalize_target: bool | str | dict = False,
                 beta: float = 1.0,
                 loss_weight: float = 1.0,
                 **kwargs):
        super().__init__(distance, normalize_target, beta, loss_weight=loss_weight, **kwargs)
        if tokens not in self.TOKENS:
            raise ConfigError(f"tokens must be one of {self.TOKENS}, got '{tokens}'")
        self.tokens = tokens
        self.needs_cls = tokens == 'cls'

    def compare(self, student: Tokens, teacher: Tokens, mask: Tensor | None, index: int) -> Tensor:
        """Mean over tokens (and channels, but for 'cosine'); the mask is not used.

        Raises:
            ValueError: shapes differ, or the class token is asked for and absent.
        """
        prediction, target = self._chosen(student), self._chosen(teacher)
        if self.tokens == 'all' and prediction.shape[1] != target.shape[1]:
            prediction, target = student.patches, teacher.patches  # one has no class token
        return self.distances(prediction, target, index).mean()

    def _chosen(self, tokens: Tokens) -> Tensor:
        if self.tokens == 'cls':
            if tokens.cls is None:
                raise ValueError("tokens='cls' needs a class token in student and teacher; take "
                                 "tokens='patches'")
            return tokens.cls[:, None]
        if self.tokens == 'patches' or tokens.cls is None:
            return tokens.patches
        return torch.cat([tokens.patches, tokens.cls[:, None]], dim=1)


@MODELS.register_module()
class ClassTokenLoss(FeatureAlignmentLoss):
    """A term for the class token only, which losses on patches leave without a target.

    ``1 − cos(student class token, teacher class token)``, mean over images.

    Args:
        distance: See :class:`FeatureObjective`.
        normalize_target: See :class:`FeatureObjective`.
        **kwargs: See :class:`FeatureAlignmentLoss`.

    Source: AM-RADIO (arXiv 2312.06709), the loss of its summary token.
    """

    def __init__(self, distance: str | dict[str, float] = 'cosine',
                 normalize_target: bool | str | dict = False, **kwargs):
        super().__init__(distance, 'cls', normalize_target, **kwargs)
