"""Token backbones."""
from mmvitlin.models.backbones.adventurer import Adventurer
from mmvitlin.models.backbones.base import TokenBackbone, Tokens
from mmvitlin.models.backbones.timm_backbone import TimmBackbone
from mmvitlin.models.backbones.timm_vit import TimmViT

__all__ = ['Adventurer', 'TimmBackbone', 'TimmViT', 'TokenBackbone', 'Tokens']
