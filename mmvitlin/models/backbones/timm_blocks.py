"""timm's ViT blocks on a CPU, tile by tile."""
from __future__ import annotations

from functools import partial

import torch.nn as nn
from timm.models.eva import EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor

from mmvitlin.models.layers import TokenLayout
from mmvitlin.models.utils.watching import is_hooked, show
from mmvitlin.ops import FastLinear

_TILE = 1024  # tokens that are worked on at a time


def streams(block: nn.Module) -> bool:
    """Whether :func:`stream_block_` may run a block: of a known kind, and without hooks inside."""
    return type(block) in (Block, EvaBlock) and not block.training and not is_hooked(block)


def stream_block_(block: nn.Module, x: Tensor, attn_mask: TokenLayout | None = None,
                  rope: Tensor | None = None) -> None:
    """``x = block(x)`` in place, over tiles of tokens that stay in the processor's cache.

    Everything but softmax attention works on single tokens, or on sums over them.

    Args:
        block: In eval mode.
        x: (B, L, C), without gradients.
        attn_mask: The tokens' layout, without a mask, where the block's attention takes one.
        rope: Rotary angles of the block.
    """
    def scaled(branch: int, y: Tensor) -> Tensor:
        if isinstance(block, EvaBlock):
            gamma = getattr(block, f'gamma_{branch}')
            return y if gamma is None else gamma * y
        return getattr(block, f'ls{branch}')(y)

    attn = block.attn
    with FastLinear():
        if getattr(attn, 'streams', False):
            attn.stream_(x, block.norm1, partial(scaled, 1), rope, _TILE)
        else:
            given = dict(attn_mask=attn_mask, rope=rope)
            x += scaled(1, attn(block.norm1(x),
                                **{k: v for k, v in given.items() if v is not None}))
        for part in x.split(_TILE, dim=1):
            part += scaled(2, block.mlp(block.norm2(part)))
    show(block, x)
