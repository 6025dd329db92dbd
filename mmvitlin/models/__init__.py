"""Networks, losses and distillers; registered under the scope ``mmvitlin``."""
from mmvitlin.models.backbones import (
    Adventurer,
    MambaReg,
    TimmBackbone,
    TimmViT,
    TokenBackbone,
    Tokens,
)
from mmvitlin.models.distillers import (
    AttentionAlignment,
    Distiller,
    FeatureAlignment,
    LogitDistillation,
    ViTLinearizer,
)
from mmvitlin.models.losses import (
    ActivationMatchingLoss,
    AttentionAlignmentLoss,
    ClassTokenLoss,
    FeatureAlignmentLoss,
    GramAnchoringLoss,
    LogitLoss,
    MaskedPredictionLoss,
    Objective,
    TokenSimilarityLoss,
)
from mmvitlin.models.necks import SimpleFPN
from mmvitlin.models.preprocessor import ImagePreprocessor
from mmvitlin.models.teachers import CachedTeacher, FrozenTeacher, ShardedTeacher, TimmFeatures

__all__ = [
    'ActivationMatchingLoss', 'Adventurer', 'AttentionAlignment', 'AttentionAlignmentLoss',
    'CachedTeacher', 'ClassTokenLoss', 'Distiller', 'FeatureAlignment', 'FeatureAlignmentLoss',
    'FrozenTeacher', 'GramAnchoringLoss', 'ImagePreprocessor', 'LogitDistillation', 'LogitLoss',
    'MambaReg', 'MaskedPredictionLoss', 'Objective', 'ShardedTeacher', 'SimpleFPN', 'TimmBackbone',
    'TimmFeatures', 'TimmViT', 'TokenBackbone', 'TokenSimilarityLoss', 'Tokens', 'ViTLinearizer'
]
