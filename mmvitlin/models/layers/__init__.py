"""Building blocks of the backbones: one idea a file."""
from mmvitlin.models.layers.bi_mamba import BiMamba
from mmvitlin.models.layers.inherited_attention import InheritedAttention
from mmvitlin.models.layers.linear_attention import HedgehogMap, LinearAttention
from mmvitlin.models.layers.mamba2 import Mamba2
from mmvitlin.models.layers.patch_embed import PatchEmbed, pad_to_multiples, pad_to_patches
from mmvitlin.models.layers.position import fit_loaded_positions, resize_positions
from mmvitlin.models.layers.swiglu import SwiGLU
from mmvitlin.models.layers.window_attention import WindowAttention

__all__ = [
    'BiMamba', 'HedgehogMap', 'InheritedAttention', 'LinearAttention', 'Mamba2', 'PatchEmbed',
    'SwiGLU', 'WindowAttention', 'fit_loaded_positions', 'pad_to_multiples', 'pad_to_patches',
    'resize_positions'
]
