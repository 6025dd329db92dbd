"""A whole Adventurer block, tile by tile, for inference on a CPU.

Every step of the block but two works on single tokens; the scan needs the state of the tokens
before, the convolution the three tokens before. So the block runs over tiles of a few hundred
tokens that stay in the cache, and writes its result over its input: only the residual stream is
held at full length.
"""
from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.cpu.fast_linear import linear
from mmvitlin.ops.ssd.segments import even_chunk, scan_segment

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


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """1 / sqrt(mean(x²) + eps) over channels, (…, 1), in float32 at least."""
    acc = torch.float64 if x.dtype == torch.float64 else torch.float32
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=acc)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def rms_norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """RMSNorm over channels, the result as ``dtype``."""
    return (x * inverse_rms(x, eps)).mul_(weight).to(dtype)


def mean_token(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Mean over tokens of the normed sequence, (b, 1, C); the sequence is read, not copied."""
    inverse = inverse_rms(x, eps)
    return (inverse.transpose(1, 2) @ x.to(inverse.dtype)).mul_(weight).div_(x.shape[1])


class ScanOrder:
    """Walks patches, with other tokens behind them, in tiles, in the order of the scan.

    Args:
        patches: Number of patches, L.
        tile: Patches in a tile; the last one takes what is behind the patches too.
        reverse: From the last patch to the first; what is behind them stays there.
        behind: Number of tokens behind the patches: the class token, a head's queries.
    """

    def __init__(self, patches: int, tile: int, reverse: bool, behind: int = 1):
        starts = range(0, patches, tile)
        spans = [(a, min(a + tile, patches)) for a in starts]
        self.reverse, self.patches, self.behind = reverse, patches, behind
        self.spans = spans[::-1] if reverse else spans

    def __len__(self) -> int:
        return len(self.spans)

    def take(self, x: Tensor, index: int) -> Tensor:
        """Tokens of a tile of (b, L + n, C) in scan order; a view where the scan runs forward."""
        a, b = self.spans[index]
        last = index == len(self) - 1
        if not self.reverse:
            return x[:, a:b + (self.behind if last else 0)]
        tile = x[:, a:b].flip(1)
        return torch.cat([tile, x[:, self.patches:]], dim=1) if last else tile

    def put(self, x: Tensor, index: int, values: Tensor) -> None:
        """Write a tile's tokens back."""
        a, b = self.spans[index]
        if not self.reverse:
            x[:, a:a + values.shape[1]] = values
            return
        x[:, a:b] = values[:, :b - a].flip(1)
        if values.shape[1] > b - a:
            x[:, self.patches:] = values[:, b - a:]


class Mixer:
    """Mamba-2 between its two projections, over consecutive tiles in scan order."""

    def __init__(self, weights: BlockWeights):
        w = self.weights = weights
        self.inner, self.heads = w.out_proj.shape[1], len(w.A)
        self.state_dims = (w.conv.shape[1] - self.inner) // 2
        self.sizes = [self.inner, w.conv.shape[1], self.heads]

    def zeros(self, batch: int, device) -> tuple[Tensor, Tensor]:
        """State, and inputs of the convolution, before the first token."""
        w = self.weights
        state = torch.zeros(batch, w.groups, self.state_dims // w.groups, self.heads // w.groups,
                            self.inner // self.heads, dtype=w.A.dtype, device=device)
        return state, torch.zeros(batch, w.conv.shape[0] - 1, w.conv.shape[1],
                                  dtype=w.in_proj.dtype, device=device)

    def scan(self, p: Tensor, state: Tensor, tail: Tensor) -> dict[str, Tensor]:
        """From the input projection (b, T, W) to the gate.

        Returns:
            What the backward pass uses, among it y (b, T, I), z, the state 'after' and 'longer',
            the convolution's inputs, whose last tokens are the next tile's tail.
        """
        w, length = self.weights, p.shape[1]
        z, x_bc, dt = p.split(self.sizes, dim=-1)
        longer = torch.cat([tail, x_bc], dim=1)
        conv = torch.addcmul(w.conv_bias, longer[:, :length], w.conv[0])
        for k in range(1, len(w.conv)):
            conv.addcmul_(longer[:, k:k + length], w.conv[k])
        x, B, C = F.silu(conv).split([self.inner, self.state_dims, self.state_dims], dim=-1)
        x = x.unflatten(-1, (self.heads, -1))
        B, C = (t.unflatten(-1, (w.groups, -1)) for t in (B, C))
        raw = dt.to(w.A.dtype) + w.dt_bias
        dt = F.softplus(raw)
        y, starts, after = scan_segment(x, dt, w.A, B, C, state,
                                        even_chunk(x.shape[1], CHUNK))
        y = torch.addcmul(y, x, w.D[:, None]).flatten(2)
        return dict(z=z, longer=longer, conv=conv, x=x, B=B, C=C, raw=raw, dt=dt, y=y,
                    starts=starts, after=after)

    def gate(self, t: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Gated outputs, their inverse RMS, and the normed ones that are projected."""
        gated = t['y'] * F.silu(t['z'])
        inverse = inverse_rms(gated, self.weights.eps)
        return gated, inverse, (gated * inverse).mul_(self.weights.gate_norm).to(gated.dtype)


def streamed_block_(x: Tensor, w: BlockWeights, reverse: bool, tile: int = TILE, behind: int = 1
                    ) -> Tensor:
    """Run an Adventurer block in place.

    Args:
        x: Residual stream (b, L + n, C), patches first, contiguous; overwritten.
        w: See :class:`BlockWeights`.
        reverse: Scan the patches from the last to the first.
        tile: Patches worked on at a time.
        behind: n, tokens behind the patches: the class token, a head's queries.

    Returns:
        ``x``.
    """
    dtype, mixer = w.in_proj.dtype, Mixer(w)
    order = ScanOrder(x.shape[1] - behind, tile, reverse, behind)
    state, tail = mixer.zeros(len(x), x.device)
    heading = mean_token(x, w.norm, w.eps).to(dtype)
    for n in range(len(order)):
        part = order.take(x, n)
        u = rms_norm(part, w.norm, w.eps, dtype)
        if n == 0:
            u = torch.cat([heading, u], dim=1)  # the mean token's own output is dropped below
        t = mixer.scan(linear(u, w.in_proj), state, tail)
        state, tail = t['after'], t['longer'][:, u.shape[1]:].clone()
        out = linear(mixer.gate(t)[2], w.out_proj)
        part += out[:, 1:] if n == 0 else out
        del t, out
        u = rms_norm(part, w.norm_mlp, w.eps, dtype)
        part += linear(F.silu(linear(u, *w.w1), inplace=True).mul_(linear(u, *w.w2)), *w.w3)
        if reverse:
            order.put(x, n, part)
    return x
