"""Softmax attention inside windows, the usual way of running plain ViTs on large images."""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.models.layers.inherited_attention import InheritedAttention, TokenLayout
from mmvitlin.ops.grid_blocks import blocks_of, join_blocks


class WindowAttention(InheritedAttention):
    """Each patch attends to the patches of its own window; the grid is padded to whole windows.

    Padding is not attended to unless asked for. Class and register tokens attend to everything,
    and nothing in a window attends to them.

    Args:
        softmax: The module to take the weights from; see :class:`InheritedAttention`.
        window: Side of a window in patches.
        attend_padding: Let patches attend to the padding of windows, as in ViTDet: without a mask
            faster kernels run. Here that is zeros among keys and values; ViTDet fills up before the
            projection, whose biases its padding then has.

    Source: ViTDet (arXiv 2203.16527), section 3, with 14×14 windows and four global blocks.
    """

    def __init__(self, softmax: nn.Module, window: int = 14, attend_padding: bool = False):
        super().__init__(softmax)
        self.attend_padding = attend_padding
        if window < 1:
            raise ValueError(f'window must be at least 1, got {window}')
        self.window = window

    def forward(self, x: Tensor, rope: Tensor | None = None,
                attn_mask: TokenLayout | Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, L, C) to (B, L, C), before the residual.

        Raises:
            ValueError: a mask or causality is asked for.
            RuntimeError: it gets no grid.
        """
        grid, _ = self.layout(attn_mask, is_causal)
        if grid is None:
            raise RuntimeError('window attention needs the grid; run it inside a TimmViT, or give '
                               'attn_mask=TokenLayout(grid)')
        q, k, v = self.queries_keys_values(x, rope)
        prefix = x.shape[1] - grid[0] * grid[1]
        whole = F.scaled_dot_product_attention(q[:, :, :prefix], k, v, scale=self.scale)
        blocks = [blocks_of(t[:, :, prefix:], grid, self.window) for t in (q, k, v)]
        windows = [t.permute(0, 2, 3, 1, 4, 5).flatten(0, 2) for t in blocks]
        y = F.scaled_dot_product_attention(*windows, attn_mask=self._padding(x, grid),
                                           scale=self.scale)
        y = y.unflatten(0, (x.shape[0], *blocks[0].shape[2:4])).permute(0, 3, 1, 2, 4, 5)
        y = torch.cat([whole, join_blocks(y, grid, self.window)], dim=2)
        return self.project(y.transpose(1, 2).flatten(2), x)

    def _padding(self, x: Tensor, grid: tuple[int, int]) -> Tensor | None:
        """Which keys of each window are patches, (B·windows, 1, 1, window²); None for all."""
        if self.attend_padding:
            return None
        (h, w), s = grid, self.window
        symbolic = isinstance(h, torch.SymInt) or isinstance(w, torch.SymInt)
        if not symbolic and h % s == w % s == 0:
            return None
        valid = torch.ones(1, 1, h * w, 1, dtype=torch.bool, device=x.device)
        valid = blocks_of(valid, grid, s).flatten(0, 3).transpose(1, 2)[:, None]
        return valid.repeat(x.shape[0], 1, 1, 1)
