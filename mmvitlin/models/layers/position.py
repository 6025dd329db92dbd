"""Learned positions at sizes they were not learned at."""
from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor


def resize_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Interpolate patch positions (1, h·w, C) to another grid, bicubic and antialiased.

    Positions of class tokens and registers must be split off before. Sizes that are symbolic
    while a graph is exported become part of the graph.
    """
    if any(isinstance(n, torch.SymInt) for n in new):
        grid = positions.unflatten(1, tuple(old)).float()
        rows, columns = (bicubic_weights(a, b, grid) for a, b in zip(old, new, strict=True))
        grid = torch.einsum('ih,bhwc->biwc', rows, grid)
        grid = torch.einsum('jw,biwc->bijc', columns, grid)
        return grid.flatten(1, 2).to(positions.dtype)
    if tuple(old) == tuple(new):
        return positions
    grid = positions.unflatten(1, tuple(old)).permute(0, 3, 1, 2).float()
    grid = F.interpolate(grid, tuple(new), mode='bicubic', antialias=True)
    return grid.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)


def fit_loaded_positions(state: dict[str, Tensor], key: str, own: Tensor, grid: tuple[int, int],
                         old: Sequence[int] | None, last: int = 0) -> None:
    """Fit positions in a state dict, learned at another size, to a network.

    Args:
        state: Changed in place; left alone where the positions fit no grid.
        key: Of the positions, (1, h·w + last, C).
        own: The network's.
        grid: The network's.
        old: Grid that they were learned at; None for the network's where shapes agree, and
            a square otherwise.
        last: Rows behind those of the patches.
    """
    loaded = state.get(key)
    if loaded is None or loaded.ndim != 3 or loaded.shape[2] != own.shape[2]:
        return
    count = loaded.shape[1] - last
    if old is None:
        side = math.isqrt(max(count, 0))
        old = grid if loaded.shape == own.shape else (side, side)
        if old == grid != (side, side) and side**2 == count:
            print_log(f'{key}: {count} positions without a grid, taken for the {grid[0]}x{grid[1]} '
                      f"of the network; if they are those of {side}x{side}, say so in the file's "
                      "meta: dict(backbone=dict(grid=[…]))", logger='current',
                      level=logging.WARNING)
    if old[0] * old[1] == count:
        patches = resize_positions(loaded[:, :count], tuple(old), grid)
        state[key] = torch.cat([patches, loaded[:, count:]], dim=1)


def bicubic_weights(old: int, new: int, like: Tensor) -> Tensor:
    """Weights (new, old) of antialiased bicubic interpolation of a line, each row adding to 1.

    As ``F.interpolate(mode='bicubic', antialias=True)``, the cubic with a = −0.5, in operators
    that every runtime has.
    """
    places = torch.arange(1, new + 1, device=like.device, dtype=like.dtype)
    scale = old / places[-1:]  # a tensor also where ``new`` is symbolic
    centres = (places - 0.5) * scale
    sources = torch.arange(old, device=like.device, dtype=like.dtype) + 0.5
    x = (sources - centres[:, None]).abs() / scale.clamp(min=1)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    return weights / weights.sum(1, keepdim=True)
