"""Activation matching: token-similarity maps of student and teacher, stage by stage."""
from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.models.losses.base import (
    Objective,
    check_form,
    check_grids,
    select,
    visible_groups,
)
from mmvitlin.ops import cosine_map_distance
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.numbers import number


@MODELS.register_module()
class ActivationMatchingLoss(Objective):
    """Match the cosine-similarity maps of tokens at the end of K stages.

    With ``A^k(i,j) = cos(f^k(i), f^k(j))`` after stage k and each row divided by its norm::

        L_act = 1 / (K L) Σ_k Σ_i (1 − < Ā_tea^k(i,:), Ā_stu^k(i,:) >)

    Maps of L×L are never built where there are more tokens than channels: see
    :func:`mmvitlin.ops.cosine_map_distance`. Widths of student and teacher may differ.

    Args:
        num_stages: K; depths of student and teacher are each cut into K equal stages, whose last
            blocks are compared unless ``layers`` names others.
        scope: 'visible' matches among unmasked patches, 'all' among all patches, 'cls'
            only the class token's similarities to the visible patches.
        form: 'auto', 'linear' or 'pairwise'.
        loss_weight: Multiplies the loss.
        center: Subtract the mean of an image's compared patches from its tokens first,
            ``f(i) − 1/V Σ_j f(j)``. Tokens of a ViT share a large common part, which makes all
            rows of the map alike (an option of mmvitlin).
        **kwargs: See :class:`Objective`; ``layer_weights`` are those of the stages.

    Raises:
        ConfigError: an unknown scope.

    Source: ViT-Linearizer (arXiv 2504.00037).

    Example:
        >>> features = [Tokens(torch.rand(2, 12, 8), torch.rand(2, 8), (3, 4))]
        >>> float(ActivationMatchingLoss(num_stages=1)(features, features))
        0.0
    """
    takes_visible = True
    SCOPES = ('visible', 'all', 'cls')

    def __init__(self,
                 num_stages: int = 4,
                 scope: str = 'visible',
                 form: str = 'auto',
                 loss_weight: float = 1.0,
                 center: bool = False,
                 **kwargs):
        super().__init__(loss_weight=loss_weight, **kwargs)
        if scope not in self.SCOPES:
            raise ConfigError(f"scope must be one of {self.SCOPES}, got '{scope}'")
        number('num_stages', num_stages, least=1, whole=True)
        self.num_stages, self.scope, self.center = num_stages, scope, center
        self.form = check_form(form)
        self.needs_cls = scope == 'cls'

    def default_layers(self, depth: int) -> tuple[int, ...]:
        """Last block of each stage in a network of ``depth`` blocks.

        Raises:
            ConfigError: more stages than blocks.
        """
        if not 1 <= self.num_stages <= depth:
            raise ConfigError(f'num_stages={self.num_stages} does not fit a network of {depth} '
                              f'blocks; take 1 to {depth}')
        return tuple((k + 1) * depth // self.num_stages - 1 for k in range(self.num_stages))

    def compare(self, student: Tokens, teacher: Tokens, mask: Tensor | None, index: int,
                visible: int | None = None) -> Tensor:
        """Mean over images of the mean over rows, in [0, 1].

        Raises:
            ValueError: grids differ, or the class token is asked for and absent.
        """
        check_grids(student, teacher, 'activation matching')
        total = 0.
        for images, patches in visible_groups(None if self.scope == 'all' else mask, visible):
            sides = [(select(x.patches, images, patches),
                      None if x.cls is None else x.cls[images]) for x in (student, teacher)]
            if self.center and sides[0][0].shape[1] == 1:
                continue  # one patch is its own mean: nothing to compare
            if self.center:
                sides = [_centered(*side) for side in sides]
            rows = self._class_rows(*sides) if self.scope == 'cls' else cosine_map_distance(
                *(side[0] for side in sides), form=self.form).mean(1)
            total = total + rows.sum()
        if isinstance(total, float):  # nothing was compared
            total = student.patches.float().sum() * 0
        return total / len(student.patches)

    @staticmethod
    def _class_rows(student: tuple[Tensor, Tensor | None],
                    teacher: tuple[Tensor, Tensor | None]) -> Tensor:
        """Distance (B,) of the class tokens' similarities to the patches."""
        if student[1] is None or teacher[1] is None:
            raise ValueError("scope='cls' needs a class token in student and teacher; "
                             "take scope='visible'")
        rows = [F.cosine_similarity(patches.float(), cls.float()[:, None], dim=-1)
                for patches, cls in (student, teacher)]
        return 1 - F.cosine_similarity(*rows, dim=-1)


def _centered(patches: Tensor, cls: Tensor | None) -> tuple[Tensor, Tensor | None]:
    patches = patches.float()
    mean = patches.mean(1, keepdim=True)
    return patches - mean, None if cls is None else cls.float() - mean[:, 0]
