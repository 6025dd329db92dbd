"""Distillation objectives: one a file, called ``loss(student, teacher)``."""
from mmvitlin.models.losses.activation_matching import ActivationMatchingLoss
from mmvitlin.models.losses.attention_alignment import AttentionAlignmentLoss
from mmvitlin.models.losses.feature_alignment import FeatureAlignmentLoss
from mmvitlin.models.losses.masked_prediction import MaskedPredictionLoss

__all__ = [
    'ActivationMatchingLoss', 'AttentionAlignmentLoss', 'FeatureAlignmentLoss',
    'MaskedPredictionLoss'
]
