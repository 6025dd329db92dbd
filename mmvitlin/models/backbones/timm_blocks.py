"""timm's ViT blocks on a CPU, tile by tile."""
from __future__ import annotations

from functools import partial

import torch.nn as nn
from timm.models.eva import EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor

from mmvitlin.models.layers import LinearAttention
from mmvitlin.ops import FastLinear

_TILE = 1024  # tokens that are worked on at a time


def streams(block: nn.Module) -> bool:
    """Whether :func:`stream_block_` may run a block: of a known kind, and nobody looks inside."""
    return type(block) in (Block, EvaBlock) and not block.training and not any(
        m._forward_hooks or m._forward_pre_hooks for m in block.modules())


def stream_block_(block: nn.Module, x: Tensor, rope: Tensor | None = None) -> None:
    """``x = block(x)`` in place, over tiles of tokens that stay in the processor's cache.

    All but softmax attention looks at single tokens, or at sums over them.

    Args:
        block: In eval mode.
        x: (B, L, C), without gradients.
        rope: Rotary angles of the block.
    """
    def scaled(branch: int, y: Tensor) -> Tensor:
        if isinstance(block, EvaBlock):
            gamma = getattr(block, f'gamma_{branch}')
            return y if gamma is None else gamma * y
        return getattr(block, f'ls{branch}')(y)

    attn = block.attn
    with FastLinear():
        if isinstance(attn, LinearAttention) and attn.conv is None:
            attn.stream_(x, block.norm1, partial(scaled, 1), rope, _TILE)
        else:
            turn = {} if rope is None else dict(rope=rope)
            x += scaled(1, attn(block.norm1(x), **turn))
        for part in x.split(_TILE, dim=1):
            part += scaled(2, block.mlp(block.norm2(part)))
