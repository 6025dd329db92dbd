"""Walking over tokens in tiles, as rows of unit length."""
from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-12
_TILE = 1024


def samples(x: Tensor) -> list:
    """One sample after another on a CPU, where products of one are large enough; else all."""
    return list(range(len(x))) if x.device.type == 'cpu' else [slice(None)]


def tiles(x: Tensor) -> list[slice]:
    """Tokens that are worked on at a time."""
    step = _TILE if x.device.type == 'cpu' else x.shape[-2]
    return [slice(a, a + step) for a in range(0, x.shape[-2], step)]


def unit_rows(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rows of length one, and what they were multiplied with (0 … 1/ε)."""
    x = x.to(dtype)
    inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(EPS).reciprocal_()
    return x * inverse, inverse


def through_unit_rows(grad: Tensor, rows: Tensor, inverse: Tensor) -> Tensor:
    """Gradient of what :func:`unit_rows` was given, from that of its rows."""
    along = (rows * grad).sum(-1, keepdim=True) * (inverse < 1 / EPS)
    return torch.addcmul(grad, along, rows, value=-1) * inverse
