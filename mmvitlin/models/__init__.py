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
    FrozenTeacher,
    LogitDistillation,
    ViTLinearizer,
)
from mmvitlin.models.losses import (
    ActivationMatchingLoss,
    AttentionAlignmentLoss,
    FeatureAlignmentLoss,
    MaskedPredictionLoss,
)
from mmvitlin.models.necks import SimpleFPN

__all__ = [
    'ActivationMatchingLoss', 'Adventurer', 'AttentionAlignment', 'AttentionAlignmentLoss',
    'Distiller', 'FeatureAlignment', 'FeatureAlignmentLoss', 'FrozenTeacher',
    'LogitDistillation', 'MambaReg', 'MaskedPredictionLoss', 'SimpleFPN', 'TimmBackbone',
    'TimmViT', 'TokenBackbone', 'Tokens', 'ViTLinearizer'
]
