"""Networks, losses and distillers; registered under the scope ``mmvitlin``."""
from mmvitlin.models.backbones import Adventurer, TimmViT, TokenBackbone, Tokens
from mmvitlin.models.distillers import Distiller, FrozenTeacher, ViTLinearizer
from mmvitlin.models.losses import ActivationMatchingLoss, MaskedPredictionLoss
from mmvitlin.models.necks import SimpleFPN

__all__ = [
    'ActivationMatchingLoss', 'Adventurer', 'Distiller', 'FrozenTeacher', 'MaskedPredictionLoss',
    'SimpleFPN', 'TimmViT', 'TokenBackbone', 'Tokens', 'ViTLinearizer'
]
