"""Triton kernels of the causal depthwise convolution. Import only where Triton is installed.

A program goes through the blocks of one segment of the tokens for a few channels. A block's inputs
are loaded once for each tap: all but the first come from the cache. The backward pass computes
the sum before SiLU again, for the block and the K − 1 tokens behind it.
"""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmvitlin.ops.launch import Launch

CHANNELS = 64  # of a block
TOKENS = {False: 32, True: 16}  # of a block, forward and backward; more spill registers
MOST_TAPS = 8  # the backward pass has taps² loads
_PROGRAMS = 2048  # enough for any GPU


@triton.jit
def load_rows(ptr, tokens, channels, length, width, stride_l):
    """(tokens, channels) in float32, zero before the first token and behind the last."""
    inside = (tokens >= 0) & (tokens < length)
    return tl.load(ptr + tokens[:, None] * stride_l + channels[None, :],
                   mask=inside[:, None] & (channels < width)[None, :], other=0.).to(tl.float32)


@triton.jit
def load_taps(ptr, channels, width, tap, K: tl.constexpr):
    """One tap's weight of each channel, in float32."""
    return tl.load(ptr + channels * K + tap, mask=channels < width, other=0.).to(tl.float32)


@triton.jit
def weighted_sum(x_ptr, weight_ptr, bias_ptr, tokens, channels, length, width, x_l,
                 has_bias: tl.constexpr, AHEAD: tl.constexpr, K: tl.constexpr):
    """The convolution at some tokens, before SiLU, and 0 where there is no bias."""
    total = tl.zeros((tokens.shape[0], channels.shape[0]), tl.float32)
    if has_bias:
        total += load_taps(bias_ptr, channels, width, 0, 1)[None, :]
    for k in tl.static_range(K):
        x = load_rows(x_ptr, tokens + (AHEAD + k + 1 - K), channels, length, width, x_l)
        total += x * load_taps(weight_ptr, channels, width, k, K)[None, :]
    return total


@triton.jit
def conv_forward(x_ptr, weight_ptr, bias_ptr, y_ptr, length, width, blocks, x_b, x_l,
                 has_bias: tl.constexpr, SILU: tl.constexpr, AHEAD: tl.constexpr, K: tl.constexpr,
                 T: tl.constexpr, W: tl.constexpr):
    """Convolution, bias and SiLU."""
    channels = tl.program_id(0) * W + tl.arange(0, W)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    x_ptr += batch * x_b
    for block in range(blocks):
        tokens = (tl.program_id(1) * blocks + block) * T + tl.arange(0, T)
        y = weighted_sum(x_ptr, weight_ptr, bias_ptr, tokens, channels, length, width, x_l,
                         has_bias, AHEAD, K)
        if SILU:
            y = y * tl.sigmoid(y)
        tl.store(y_ptr + (batch * length + tokens[:, None]) * width + channels[None, :],
                 y.to(y_ptr.dtype.element_ty),
                 mask=(tokens < length)[:, None] & (channels < width)[None, :])


@triton.jit
def conv_backward(x_ptr, weight_ptr, bias_ptr, dy_ptr, dx_ptr, parts_ptr, length, width, blocks,
                  x_b, x_l, dy_b, dy_l, has_bias: tl.constexpr, SILU: tl.constexpr,
                  AHEAD: tl.constexpr, K: tl.constexpr, T: tl.constexpr, W: tl.constexpr):
    """Gradient of x, and a program's part of those of each tap and, last, of the bias."""
    channels = tl.program_id(0) * W + tl.arange(0, W)
    segment = tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    x_ptr += batch * x_b
    dy_ptr += batch * dy_b
    rows = tl.arange(0, triton.next_power_of_2(K + 1))
    parts = tl.zeros((triton.next_power_of_2(K + 1), W), tl.float32)
    for block in range(blocks):
        tokens = (segment * blocks + block) * T + tl.arange(0, T)
        dx = tl.zeros((T, W), tl.float32)
        for later in tl.static_range(K):  # tokens that each token reaches
            reached = tokens + (later - AHEAD)
            dz = load_rows(dy_ptr, reached, channels, length, width, dy_l)
            if SILU:
                z = weighted_sum(x_ptr, weight_ptr, bias_ptr, reached, channels, length, width,
                                 x_l, has_bias, AHEAD, K)
                share = tl.sigmoid(z)
                dz *= share * (1 + z * (1 - share))
            dx += dz * load_taps(weight_ptr, channels, width, K - 1 - later, K)[None, :]
            x = load_rows(x_ptr, tokens, channels, length, width, x_l)
            parts += tl.where(rows[:, None] == K - 1 - later, tl.sum(dz * x, 0)[None, :], 0.)
            if later == AHEAD:
                parts += tl.where(rows[:, None] == K, tl.sum(dz, 0)[None, :], 0.)
        tl.store(dx_ptr + (batch * length + tokens[:, None]) * width + channels[None, :],
                 dx.to(dx_ptr.dtype.element_ty),
                 mask=(tokens < length)[:, None] & (channels < width)[None, :])
    where = (batch * tl.num_programs(1) + segment) * (K + 1) + rows
    tl.store(parts_ptr + where[:, None] * width + channels[None, :], parts,
             mask=(rows <= K)[:, None] & (channels < width)[None, :])


def _cut(x: Tensor, backward: bool) -> tuple[tuple[int, int, int], int]:
    """Grid, and blocks of a segment."""
    batch, length, width = x.shape
    columns, all_blocks = triton.cdiv(width, CHANNELS), triton.cdiv(length, TOKENS[backward])
    segments = max(1, min(all_blocks, triton.cdiv(_PROGRAMS, columns * batch)))
    blocks = triton.cdiv(all_blocks, segments)
    return (columns, triton.cdiv(all_blocks, blocks), batch), blocks


def _options(weight: Tensor, bias: Tensor | None, silu: bool, ahead: int, backward: bool) -> dict:
    return dict(has_bias=bias is not None, SILU=silu, AHEAD=ahead, K=weight.shape[-1],
                T=TOKENS[backward], W=CHANNELS, num_warps=4, num_stages=1)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, ahead: int
             ) -> tuple[list[Launch], Tensor]:
    """Launch of the forward pass, and (B, L, C), which it fills.

    Args:
        x: (B, L, C), its channels contiguous.
        weight: (C, 1, K), contiguous.
        bias: (C,) or None.
        silu: Apply SiLU.
        ahead: Tokens behind its own that each looks at.
    """
    batch, length, width = x.shape
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    grid, blocks = _cut(x, False)
    return [Launch(conv_forward, grid,
                   (x, weight, weight if bias is None else bias, y, length, width, blocks,
                    *x.stride()[:2]), _options(weight, bias, silu, ahead, False))], y


def convolve_backward(dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool,
                      ahead: int) -> tuple[list[Launch], Tensor, Tensor]:
    """Launch of the backward pass, the gradient of x, and parts (B, segments, K + 1, C).

    The parts are to be added up: of each tap's weight, and, last, of the bias.
    """
    batch, length, width = x.shape
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    grid, blocks = _cut(x, True)
    parts = torch.empty(batch, grid[1], weight.shape[-1] + 1, width, dtype=torch.float32,
                        device=x.device)
    return [Launch(conv_backward, grid,
                   (x, weight, weight if bias is None else bias, dy, dx, parts, length, width,
                    blocks, *x.stride()[:2], *dy.stride()[:2]),
                   _options(weight, bias, silu, ahead, True))], dx, parts
