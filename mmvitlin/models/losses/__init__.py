"""Distillation losses, one a file: ``loss(student, teacher, mask)`` of tokens, and
``loss(student, teacher)`` of attention outputs and of class scores."""
from mmvitlin.models.losses.activation_matching import ActivationMatchingLoss
from mmvitlin.models.losses.attention_alignment import AttentionAlignmentLoss
from mmvitlin.models.losses.base import Objective
from mmvitlin.models.losses.feature_alignment import ClassTokenLoss, FeatureAlignmentLoss
from mmvitlin.models.losses.gram_anchoring import GramAnchoringLoss
from mmvitlin.models.losses.logits import LogitLoss
from mmvitlin.models.losses.masked_prediction import MaskedPredictionLoss
from mmvitlin.models.losses.token_similarity import TokenSimilarityLoss

__all__ = [
    'ActivationMatchingLoss', 'AttentionAlignmentLoss', 'ClassTokenLoss', 'FeatureAlignmentLoss',
    'GramAnchoringLoss', 'LogitLoss', 'MaskedPredictionLoss', 'Objective', 'TokenSimilarityLoss'
]
