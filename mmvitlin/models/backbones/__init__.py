"""Token backbones."""
from mmvitlin.models.backbones.adventurer import Adventurer
from mmvitlin.models.backbones.base import TokenBackbone, Tokens
from mmvitlin.models.backbones.mamba_reg import MambaReg
from mmvitlin.models.backbones.timm_backbone import TimmBackbone
from mmvitlin.models.backbones.timm_vit import TimmViT
from mmvitlin.models.backbones.token_stream import TokenStream

__all__ = [
    'Adventurer', 'MambaReg', 'TimmBackbone', 'TimmViT', 'TokenBackbone', 'TokenStream', 'Tokens'
]
