"""A whole Adventurer block, tile by tile, for inference on a CPU.

Every step of the block but two looks at single tokens; the scan needs the state of the tokens
before, the convolution the three tokens before. So the block runs over tiles of a few hundred
tokens that stay in the cache, and writes its result over its input: what is held at full length
is the residual stream alone.
"""
from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.ssd.chunked import scan_segment

TILE = 1024
CHUNK = 64


class BlockWeights(NamedTuple):
    """Weights of a block. Matrices are of the type to compute in, vectors may be wider.

    Attributes:
        norm: (C,) of the norm before the mixer.
        in_proj: (2 I + 2 G N + H, C), rows z, x, B, C, dt.
        conv: (K, I + 2 G N), taps first; conv_bias: (I + 2 G N,).
        dt_bias, A, D: (H,); A negative.
        gate_norm: (I,) of the norm after the gate.
        out_proj: (C, I).
        norm_mlp: (C,) of the norm before the SwiGLU.
        w1, w2: (M, C) and w3: (C, M), with their biases.
        groups: G.
        eps: Of all three norms.
    """
    norm: Tensor
    in_proj: Tensor
    conv: Tensor
    conv_bias: Tensor
    dt_bias: Tensor
    A: Tensor
    D: Tensor
    gate_norm: Tensor
    out_proj: Tensor
    norm_mlp: Tensor
    w1: tuple[Tensor, Tensor]
    w2: tuple[Tensor, Tensor]
    w3: tuple[Tensor, Tensor]
    groups: int
    eps: float


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    """1 / sqrt(mean(x²) + eps) over channels, (…, 1), float32."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def _rms_norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    return (x * _inverse_rms(x, eps)).mul_(weight).to(dtype)


def _mean_token(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Mean over tokens of the normed sequence, (b, 1, C); the sequence is read, not copied."""
    return (_inverse_rms(x, eps).transpose(1, 2) @ x.float()).mul_(weight).div_(x.shape[1])


class _Mixer:
    """Mamba-2 over consecutive tiles: keeps the scan's state and the convolution's tail."""

    def __init__(self, weights: BlockWeights, batch: int, dtype: torch.dtype, device):
        w = self.weights = weights
        self.inner = w.out_proj.shape[1]
        self.state_dims = (w.conv.shape[1] - self.inner) // 2
        heads = len(w.A)
        self.width = self.inner // heads
        self.state = torch.zeros(batch, w.groups, self.state_dims // w.groups, heads // w.groups,
                                 self.width, device=device)
        self.tail = torch.zeros(batch, w.conv.shape[0] - 1, w.conv.shape[1], dtype=dtype,
                                device=device)

    def __call__(self, u: Tensor) -> Tensor:
        """(b, T, C) to the gated and normed inner activations, (b, T, I)."""
        w, taps, length = self.weights, len(self.weights.conv), u.shape[1]
        z, x_bc, dt = F.linear(u, w.in_proj).split(
            [self.inner, w.conv.shape[1], len(w.A)], dim=-1)
        longer = torch.cat([self.tail, x_bc], dim=1)
        self.tail = longer[:, length:].clone()
        x_bc = torch.addcmul(w.conv_bias, longer[:, :length], w.conv[0])
        for k in range(1, taps):
            x_bc.addcmul_(longer[:, k:k + length], w.conv[k])
        F.silu(x_bc, inplace=True)
        x, B, C = x_bc.split([self.inner, self.state_dims, self.state_dims], dim=-1)
        x = x.unflatten(-1, (len(w.A), self.width))
        B, C = (t.unflatten(-1, (w.groups, -1)) for t in (B, C))
        dt = F.softplus(dt.float() + w.dt_bias)
        y, self.state = scan_segment(x, dt, w.A, B, C, self.state, CHUNK)
        y = torch.addcmul(y, x, w.D[:, None]).flatten(2).mul_(F.silu(z))
        return _rms_norm(y, w.gate_norm, w.eps, u.dtype)


def streamed_block_(x: Tensor, w: BlockWeights, reverse: bool, tile: int = TILE) -> Tensor:
    """Run an Adventurer block in place.

    Args:
        x: Residual stream (b, L + 1, C), class token last, contiguous; overwritten.
        w: See :class:`BlockWeights`.
        reverse: Scan the patches from the last to the first.
        tile: Patches worked on at a time.

    Returns:
        ``x``.
    """
    length = x.shape[1] - 1
    dtype = w.in_proj.dtype
    mixer = _Mixer(w, x.shape[0], dtype, x.device)
    mixer(_mean_token(x, w.norm, w.eps).to(dtype))  # heading average; its output is dropped
    starts = range(0, length, tile)
    for a in reversed(starts) if reverse else starts:
        _tile(x[:, a:min(a + tile, length)], w, mixer, reverse)
    _tile(x[:, length:], w, mixer, False)
    return x


def _tile(x: Tensor, w: BlockWeights, mixer: _Mixer, reverse: bool) -> None:
    u = _rms_norm(x, w.norm, w.eps, w.in_proj.dtype)
    out = F.linear(mixer(u.flip(1) if reverse else u), w.out_proj)
    x += out.flip(1) if reverse else out
    u = _rms_norm(x, w.norm_mlp, w.eps, w.w1[0].dtype)
    x += F.linear(F.silu(F.linear(u, *w.w1), inplace=True).mul_(F.linear(u, *w.w2)), *w.w3)
