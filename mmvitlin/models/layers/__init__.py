"""Building blocks of the backbones: one idea a file."""
from mmvitlin.models.layers.bi_mamba import BiMamba
from mmvitlin.models.layers.focal_attention import FocalAttention
from mmvitlin.models.layers.inherited_attention import InheritedAttention, TokenLayout
from mmvitlin.models.layers.linear_attention import HedgehogMap, LinearAttention
from mmvitlin.models.layers.mamba2 import Mamba2
from mmvitlin.models.layers.mamba2_attention import Mamba2Attention
from mmvitlin.models.layers.patch_embed import PatchEmbed, pad_to_multiples, pad_to_patches
from mmvitlin.models.layers.plain_mamba2 import PlainMamba2
from mmvitlin.models.layers.position import fit_loaded_positions, resize_positions
from mmvitlin.models.layers.query_attention import QueryAttention
from mmvitlin.models.layers.swiglu import SwiGLU
from mmvitlin.models.layers.window_attention import WindowAttention

__all__ = [
    'BiMamba', 'FocalAttention', 'HedgehogMap', 'InheritedAttention', 'LinearAttention', 'Mamba2',
    'Mamba2Attention', 'PatchEmbed', 'PlainMamba2', 'QueryAttention', 'SwiGLU', 'TokenLayout',
    'WindowAttention', 'fit_loaded_positions', 'pad_to_multiples', 'pad_to_patches',
    'resize_positions'
]
