"""Softmax attention nearby and to means of cells beyond, with the weights of a timm attention."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmvitlin.models.layers.inherited_attention import InheritedAttention, TokenLayout
from mmvitlin.ops.focal_attention import focal_attention


class FocalAttention(InheritedAttention):
    """Linear-time attention that a pretrained ViT takes over without new parameters.

    Patches attend by softmax to the patches around their block and to the means of cells of the
    whole image, class and register tokens to everything; see
    :func:`mmvitlin.ops.focal_attention`. Time and memory grow with the number of patches, since
    the number of cells stays.

    Args:
        softmax: The module to take the weights from; see :class:`InheritedAttention`.
        block: Side s of a block in patches, even; 2s × 2s patches around it are seen one by one.
        cells: Number of cells, (rows, columns), or of a square of them.

    Raises:
        TypeError: a module without queries, keys and values in one of timm's forms.
        ValueError: an odd block, or no cells.
    """
    MASKS = True

    def __init__(self, softmax: nn.Module, block: int = 4, cells: int | Sequence[int] = 8):
        super().__init__(softmax)
        self.block = block
        self.cells = tuple(cells) if isinstance(cells, Sequence) else (cells, cells)
        if not isinstance(block, int) or block < 2 or block % 2:
            raise ValueError(f'block must be an even number of patches, got {block!r}')
        if len(self.cells) != 2 or not all(isinstance(n, int) and n > 0 for n in self.cells):
            raise ValueError(f'cells must be a number or (rows, columns), got {cells!r}')

    def options(self) -> dict:
        """What it was built with, beside the softmax module."""
        return dict(block=self.block, cells=list(self.cells))

    def is_softmax(self, grid: tuple[int, int]) -> bool:
        """Whether on a grid (h, w) it is exactly softmax attention: every patch is near every
        other, or a cell of its own."""
        return max(grid) <= 2 * self.block or all(
            length <= count for length, count in zip(grid, self.cells, strict=True))

    def forward(self, x: Tensor, rope: Tensor | None = None,
                attn_mask: TokenLayout | Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, L, C) to (B, L, C), before the residual.

        Args:
            x: Tokens.
            rope: Angles of all patches.
            attn_mask: The tokens' layout, with their grid.
            is_causal: Not taken.

        Raises:
            ValueError: causality is asked for.
            RuntimeError: it gets no grid.
        """
        grid, seen = self.layout(attn_mask, is_causal)
        if grid is None:
            raise RuntimeError('focal attention needs the grid; run it inside a TimmViT, or give '
                               'attn_mask=TokenLayout(grid)')
        inputs = (*self.queries_keys_values(x, rope), grid, self.block, self.cells, self.scale,
                  seen)
        if torch.is_grad_enabled() and any(t.requires_grad for t in inputs[:3]):
            # gathered keys and values are several times what all else of a block would keep
            y = checkpoint(focal_attention, *inputs, use_reentrant=False, preserve_rng_state=False)
        else:
            y = focal_attention(*inputs)
        return self.project(y.transpose(1, 2).flatten(2), x)
