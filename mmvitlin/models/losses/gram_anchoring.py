"""Gram anchoring: all pairwise token similarities, compared by their squared error."""
from __future__ import annotations

from torch import Tensor

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.models.losses.base import (
    Objective,
    check_form,
    check_grids,
    select,
    visible_groups,
)
from mmvitlin.ops import gram_distance
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import ConfigError


@MODELS.register_module()
class GramAnchoringLoss(Objective):
    """Mean squared error of the cosine Gram matrices of patches, image by image.

    ``L_gram = ‖S Sᵀ − T Tᵀ‖² / L²`` with rows of unit length, exact in O(L d²): see
    :func:`mmvitlin.ops.gram_distance`. Widths of student and teacher may differ. DINOv3 lets the
    teacher see the image at twice the resolution: ``teacher=dict(scale=2)`` of the distiller.

    Args:
        scope: 'visible' compares unmasked patches, 'all' all of them.
        form: 'auto', 'linear' or 'pairwise'.
        **kwargs: See :class:`Objective`.

    Raises:
        ConfigError: an unknown scope or form.

    Source: DINOv3 (arXiv 2508.10104), with ``remove_neg=False``; the linear form is mmvitlin's.
    """
    takes_visible = True
    SCOPES = ('visible', 'all')

    def __init__(self, scope: str = 'visible', form: str = 'auto', **kwargs):
        super().__init__(**kwargs)
        if scope not in self.SCOPES:
            raise ConfigError(f"scope must be one of {self.SCOPES}, got '{scope}'")
        self.scope, self.form = scope, check_form(form)

    def compare(self, student: Tokens, teacher: Tokens, mask: Tensor | None, index: int,
                visible: int | None = None) -> Tensor:
        """Mean over images, in [0, 4].

        Raises:
            ValueError: grids differ.
        """
        check_grids(student, teacher, 'Gram anchoring')
        total = 0.
        for images, patches in visible_groups(None if self.scope == 'all' else mask, visible):
            pair = (select(x.patches, images, patches) for x in (student, teacher))
            total = total + gram_distance(*pair, form=self.form).sum()
        return total / len(student.patches)
