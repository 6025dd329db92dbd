"""Softmax attention inside windows, the way plain ViTs are taken to large images today."""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.models.layers.inherited_attention import InheritedAttention


class WindowAttention(InheritedAttention):
    """Each patch attends to the patches of its own window; the grid is padded to whole windows.

    Padding is not attended to unless asked for. Class and register tokens attend to everything,
    and nothing in a window attends to them.

    Args:
        softmax: The module to take the weights from; see :class:`InheritedAttention`.
        window: Side of a window in patches.
        attend_padding: Let patches attend to what windows are filled up with, as in ViTDet: no
            mask, so faster kernels serve. Here that is zeros among keys and values; ViTDet fills
            up before the projection, whose biases its padding then has.

    Source: ViTDet (arXiv 2203.16527), section 3, with 14×14 windows and four global blocks.
    """

    def __init__(self, softmax: nn.Module, window: int = 14, attend_padding: bool = False):
        super().__init__(softmax)
        self.attend_padding = attend_padding
        if window < 1:
            raise ValueError(f'window must be at least 1, got {window}')
        self.window = window

    def forward(self, x: Tensor, rope: Tensor | None = None, attn_mask: Tensor | None = None,
                is_causal: bool = False) -> Tensor:
        """(B, L, C) to (B, L, C), before the residual.

        Raises:
            ValueError: a mask or causality is asked for.
            RuntimeError: it runs outside a TimmViT, which gives the grid.
        """
        self.refuse_masks(attn_mask, is_causal)
        if self.grid is None:
            raise RuntimeError('window attention needs the grid; run it inside a TimmViT')
        q, k, v = self.queries_keys_values(x, rope)
        prefix = x.shape[1] - self.grid[0] * self.grid[1]
        whole = F.scaled_dot_product_attention(q[:, :, :prefix], k, v, scale=self.scale)
        windows = [self._cut(t[:, :, prefix:]) for t in (q, k, v)]
        y = F.scaled_dot_product_attention(*windows, attn_mask=self._padding(x),
                                           scale=self.scale)
        y = torch.cat([whole, self._join(y, x.shape[0])], dim=2)
        return self.project(y.transpose(1, 2).flatten(2), x)

    def _counts(self) -> tuple[int, int]:
        return tuple(-(-n // self.window) for n in self.grid)

    def _cut(self, t: Tensor) -> Tensor:
        """(B, H, h·w, D) to (B·windows, H, window², D)."""
        (h, w), (rows, cols), s = self.grid, self._counts(), self.window
        t = F.pad(t.unflatten(2, (h, w)), (0, 0, 0, cols * s - w, 0, rows * s - h))
        t = t.unflatten(3, (cols, s)).unflatten(2, (rows, s))  # B H rows s cols s D
        return t.permute(0, 2, 4, 1, 3, 5, 6).flatten(4, 5).flatten(0, 2)

    def _join(self, t: Tensor, batch: int) -> Tensor:
        """The reverse of :meth:`_cut`, without the padding."""
        (h, w), (rows, cols), s = self.grid, self._counts(), self.window
        t = t.unflatten(0, (batch, rows, cols)).unflatten(4, (s, s))  # B rows cols H s s D
        t = t.permute(0, 3, 1, 4, 2, 5, 6).flatten(4, 5).flatten(2, 3)
        return t[:, :, :h, :w].flatten(2, 3)

    def _padding(self, x: Tensor) -> Tensor | None:
        """Which keys of each window are patches, (B·windows, 1, 1, window²); None for all."""
        (h, w), (rows, cols), s = self.grid, self._counts(), self.window
        if self.attend_padding:
            return None
        symbolic = isinstance(h, torch.SymInt) or isinstance(w, torch.SymInt)
        if not symbolic and (rows * s, cols * s) == (h, w):
            return None
        there = F.pad(torch.ones(h, w, dtype=torch.bool, device=x.device),
                      (0, cols * s - w, 0, rows * s - h))
        there = there.unflatten(1, (cols, s)).unflatten(0, (rows, s)).transpose(1, 2)
        return there.flatten(2).flatten(0, 1)[:, None, None].repeat(x.shape[0], 1, 1, 1)
