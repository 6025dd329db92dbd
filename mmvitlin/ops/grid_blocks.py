"""Square blocks of a grid of tokens."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def blocks_of(x: Tensor, grid: tuple[int, int], block: int) -> Tensor:
    """(B, H, h·w, D) to (B, H, rows, columns, s², D), the grid filled up with
    zeros to whole blocks."""
    (h, w), s = grid, block
    rows, cols = -(-h // s), -(-w // s)
    x = F.pad(x.unflatten(2, (h, w)), (0, 0, 0, cols * s - w, 0, rows * s - h))
    x = x.unflatten(3, (cols, s)).unflatten(2, (rows, s))  # B H rows s cols s D
    return x.transpose(3, 4).flatten(4, 5)


def join_blocks(x: Tensor, grid: tuple[int, int], block: int) -> Tensor:
    """The reverse of :func:`blocks_of`, without what was filled up."""
    (h, w), s = grid, block
    x = x.unflatten(4, (s, s)).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    return x[:, :, :h, :w].flatten(2, 3)


def regions_of(x: Tensor, grid: tuple[int, int], block: int) -> Tensor:
    """(B, H, h·w, D) to (B, H, rows, columns, (2s)², D): each block with s/2 patches around it,
    zeros where there are none."""
    (h, w), s = grid, block
    rows, cols, r = -(-h // s), -(-w // s), block // 2
    x = F.pad(x.unflatten(2, (h, w)), (0, 0, r, cols * s + s - r - w, r, rows * s + s - r - h))
    x = x.unflatten(3, (cols + 1, s)).unflatten(2, (rows + 1, s))  # B H rows s cols s D
    x = torch.cat([x[:, :, :-1], x[:, :, 1:]], dim=3)
    x = torch.cat([x[:, :, :, :, :-1], x[:, :, :, :, 1:]], dim=5)  # B H rows 2s cols 2s D
    return x.transpose(3, 4).flatten(4, 5)
