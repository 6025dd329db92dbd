"""Square blocks of a grid of tokens."""
from __future__ import annotations

import torch
from torch import Tensor

from mmvitlin.ops.padding import zeros_around


def blocks_in(grid: tuple[int, int], block: int) -> tuple[int, int]:
    """(rows, columns) of blocks that the grid is filled up to.

    One more each where sizes are symbols: a single one would be traced as a constant.
    """
    return tuple(-(-n // block) + int(isinstance(n, torch.SymInt)) for n in grid)


def blocks_of(x: Tensor, grid: tuple[int, int], block: int) -> Tensor:
    """(B, H, h·w, D) to (B, H, rows, columns, s², D), the grid filled up with
    zeros to whole blocks."""
    (h, w), s = grid, block
    rows, cols = blocks_in(grid, s)
    x = zeros_around(x.unflatten(2, (h, w)), 0, 0, 0, cols * s - w, 0, rows * s - h)
    x = x.unflatten(3, (cols, s)).unflatten(2, (rows, s))  # B H rows s cols s D
    return x.transpose(3, 4).flatten(4, 5)


def join_blocks(x: Tensor, grid: tuple[int, int], block: int) -> Tensor:
    """The reverse of :func:`blocks_of`, without what was filled up."""
    (h, w), s = grid, block
    x = x.unflatten(4, (s, s)).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    return x[:, :, :h, :w].flatten(2, 3)
