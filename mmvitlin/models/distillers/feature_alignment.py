"""Feature alignment: the whole student towards the teacher's final features."""
from __future__ import annotations

import logging

from mmengine.logging import print_log

from mmvitlin.models.backbones import TimmViT
from mmvitlin.models.backbones.timm_attention import ALIGNED
from mmvitlin.models.distillers.distiller import Distiller
from mmvitlin.registry import MODELS


@MODELS.register_module()
class FeatureAlignment(Distiller):
    """Train a student so that its final features match the frozen teacher's.

    With a linear, focal or recurrent :class:`mmvitlin.models.TimmViT` that comes from
    :class:`AttentionAlignment` this is the second stage of ViT-AdaLA; with any other student,
    such as an Adventurer, it is the plain final-feature L2, a baseline for both published methods.

    Args:
        backbone: See :class:`Distiller`.
        teacher: See :class:`Distiller`.
        objectives: See :class:`Distiller`; the default is MSE on all tokens.
        **kwargs: See :class:`Distiller`; ``inherit=True`` starts a linear ViT from the
            teacher's weights, for runs without the first stage.

    Source: ViT-AdaLA (arXiv 2603.16063), second stage.
    """

    def __init__(self,
                 backbone: dict,
                 teacher: dict,
                 objectives: dict[str, dict | None] | None = None,
                 **kwargs):
        if objectives is None:
            objectives = dict(feature=dict(type='mmvitlin.FeatureAlignmentLoss'))
        super().__init__(backbone, teacher, objectives, **kwargs)
        replaced = isinstance(self.backbone, TimmViT) and any(
            kind in self.backbone.attention for kind in ALIGNED)
        if replaced and not kwargs.get('inherit') and not any(
                backbone.get(k) for k in ('init_cfg', 'checkpoint', 'pretrained')):
            print_log('feature alignment of a linear, focal or recurrent ViT from random weights; '
                      "give the first stage's student (backbone.init_cfg), or inherit=True for the "
                      "teacher's weights", logger='current', level=logging.WARNING)
        if any(loss.needs_mask for loss in self.objectives.values()):
            raise ValueError('feature alignment shows the student whole images, and an objective '
                             'needs masks; take type=\'mmvitlin.ViTLinearizer\' for that')
