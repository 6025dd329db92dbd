"""Learned positions at sizes they were not learned at."""
from __future__ import annotations

from timm.layers import resample_abs_pos_embed
from torch import Tensor


def resize_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Interpolate patch positions (1, h·w, C) to another grid, bicubic and antialiased.

    Positions of class tokens and registers must be split off before.
    """
    if tuple(old) == tuple(new):
        return positions
    return resample_abs_pos_embed(positions, list(new), list(old), num_prefix_tokens=0)
