"""Gated feed-forward network."""
from __future__ import annotations

import torch
import torch.nn as nn
from torch import Tensor

from mmvitlin.ops import silu_product


class SwiGLU(nn.Module):
    """``w3(SiLU(w1 x) * w2 x)`` with biases.

    Args:
        embed_dims: Channels in and out, C.
        hidden_dims: Channels between.
        conv_kernel: Side of a depthwise convolution over the patch grid on the value branch,
            ``w2 x``, starting as the identity; 0 for none.

    Raises:
        ValueError: an even kernel.

    Source: Adventurer (arXiv 2410.07599); hidden width ``int(2.5 C)`` there. The convolution as in
    PVTv2 (arXiv 2106.13797) and TransNeXt (arXiv 2311.17132), there on the gate.
    """

    def __init__(self, embed_dims: int, hidden_dims: int, conv_kernel: int = 0):
        super().__init__()
        if conv_kernel and conv_kernel % 2 == 0:
            raise ValueError(f'conv_kernel must be odd, got {conv_kernel}')
        self.w1 = nn.Linear(embed_dims, hidden_dims)
        self.w2 = nn.Linear(embed_dims, hidden_dims)
        self.w3 = nn.Linear(hidden_dims, embed_dims)
        self.conv = None
        if conv_kernel:
            self.conv = nn.Conv2d(hidden_dims, hidden_dims, conv_kernel, padding=conv_kernel // 2,
                                  groups=hidden_dims)
            nn.init.dirac_(self.conv.weight, groups=hidden_dims)
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """(…, C) to (…, C); with a convolution (B, h·w + n, C) of a grid (h, w), patches first."""
        value = self.w2(x)
        if self.conv is not None:
            value = self._convolve(value, grid)
        return self.w3(silu_product(self.w1(x), value))

    def _convolve(self, value: Tensor, grid: tuple[int, int]) -> Tensor:
        patches = grid[0] * grid[1]
        image = value[:, :patches].transpose(1, 2).unflatten(2, grid)
        mixed = self.conv(image).flatten(2).transpose(1, 2)
        return torch.cat([mixed, value[:, patches:]], dim=1)
