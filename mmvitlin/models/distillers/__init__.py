"""Distillers: a trained student, a frozen teacher, objectives between them."""
from mmvitlin.models.distillers.attention_alignment import AttentionAlignment
from mmvitlin.models.distillers.distiller import Distiller
from mmvitlin.models.distillers.feature_alignment import FeatureAlignment
from mmvitlin.models.distillers.logit_distillation import LogitDistillation
from mmvitlin.models.distillers.vit_linearizer import ViTLinearizer

__all__ = [
    'AttentionAlignment', 'Distiller', 'FeatureAlignment', 'LogitDistillation', 'ViTLinearizer'
]
