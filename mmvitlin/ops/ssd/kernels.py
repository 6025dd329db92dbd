"""Triton kernels of the forward scan. Import only where Triton can run.

Two launches over (segment, head, batch). The first runs each segment of chunks from a state of
zero and writes down the state it ends with; the second adds up the states of the segments before
its own, and then walks its chunks once more with the state in registers: products inside the
chunk, output, next state. Between the two nothing but one state a segment goes through device
memory.
"""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _load_steps(dt_ptr, rate, tokens, length, stride_l):
    """Step sizes of a chunk, log decay up to each token, and over the whole chunk."""
    dt = tl.load(dt_ptr + tokens * stride_l, mask=tokens < length, other=0.).to(tl.float32)
    return dt, tl.cumsum(dt * rate, 0), tl.sum(dt * rate, 0)


@triton.jit
def _load_tile(ptr, tokens, channels, length, stride_l):
    return tl.load(ptr + tokens[:, None] * stride_l + channels[None, :],
                   mask=tokens[:, None] < length, other=0.)


@triton.jit
def _next_state(state, x, B, dt, log, end, precision: tl.constexpr):
    weight = tl.exp(end - log) * dt
    added = tl.dot(tl.trans(B), (x * weight[:, None]).to(x.dtype), input_precision=precision)
    return state * tl.exp(end) + added


@triton.jit
def _segment_states(x_ptr, dt_ptr, A_ptr, B_ptr, states_ptr, totals_ptr, length, heads, groups,
                    segments, chunks, x_b, x_l, x_h, dt_b, dt_l, B_b, B_l, B_g,
                    Q: tl.constexpr, N: tl.constexpr, P: tl.constexpr, precision: tl.constexpr):
    segment, head = tl.program_id(0), tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    group = head // (heads // groups)
    rate = tl.load(A_ptr + head).to(tl.float32)
    x_ptr += batch * x_b + head * x_h
    dt_ptr += batch * dt_b + head
    B_ptr += batch * B_b + group * B_g
    n, p = tl.arange(0, N), tl.arange(0, P)
    state = tl.zeros((N, P), tl.float32)
    total = 0.
    for chunk in range(chunks):
        tokens = (segment * chunks + chunk) * Q + tl.arange(0, Q)
        dt, log, end = _load_steps(dt_ptr, rate, tokens, length, dt_l)
        x = _load_tile(x_ptr, tokens, p, length, x_l)
        B = _load_tile(B_ptr, tokens, n, length, B_l)
        state = _next_state(state, x, B, dt, log, end, precision)
        total += end
    where = (batch * heads + head) * segments + segment
    tl.store(states_ptr + where * N * P + n[:, None] * P + p[None, :], state)
    tl.store(totals_ptr + where, total)


@triton.jit
def _segment_outputs(x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, states_ptr, totals_ptr, y_ptr,
                     length, heads, groups, segments, chunks, x_b, x_l, x_h, dt_b, dt_l, B_b,
                     B_l, B_g, C_b, C_l, C_g, y_b, y_l, y_h, has_D: tl.constexpr,
                     Q: tl.constexpr, N: tl.constexpr, P: tl.constexpr, precision: tl.constexpr):
    segment, head = tl.program_id(0), tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    group = head // (heads // groups)
    rate = tl.load(A_ptr + head).to(tl.float32)
    x_ptr += batch * x_b + head * x_h
    y_ptr += batch * y_b + head * y_h
    dt_ptr += batch * dt_b + head
    B_ptr += batch * B_b + group * B_g
    C_ptr += batch * C_b + group * C_g
    q, n, p = tl.arange(0, Q), tl.arange(0, N), tl.arange(0, P)
    state = tl.zeros((N, P), tl.float32)
    first = (batch * heads + head) * segments
    for before in range(segment):
        total = tl.load(totals_ptr + first + before)
        added = tl.load(states_ptr + (first + before) * N * P + n[:, None] * P + p[None, :])
        state = state * tl.exp(total) + added
    causal = q[:, None] >= q[None, :]
    for chunk in range(chunks):
        tokens = (segment * chunks + chunk) * Q + q
        dt, log, end = _load_steps(dt_ptr, rate, tokens, length, dt_l)
        x = _load_tile(x_ptr, tokens, p, length, x_l)
        B = _load_tile(B_ptr, tokens, n, length, B_l)
        C = _load_tile(C_ptr, tokens, n, length, C_l)
        # masked before exp: above the diagonal the difference is positive
        decay = tl.exp(tl.where(causal, log[:, None] - log[None, :], -float('inf')))
        kernel = tl.dot(C, tl.trans(B), input_precision=precision) * decay * dt[None, :]
        y = tl.dot(kernel.to(x.dtype), x, input_precision=precision)
        y += tl.dot(C, state.to(C.dtype), input_precision=precision) * tl.exp(log)[:, None]
        if has_D:
            y += x * tl.load(D_ptr + head).to(tl.float32)
        tl.store(y_ptr + tokens[:, None] * y_l + p[None, :], y.to(x.dtype),
                 mask=tokens[:, None] < length)
        state = _next_state(state, x, B, dt, log, end, precision)


def scan_forward(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                 chunk: int, programs: int) -> Tensor:
    """Launch both kernels.

    Args:
        x: (b, L, H, P) with P a power of two from 16; other inputs as
            :func:`mmvitlin.ops.ssd`, N a power of two from 16.
        chunk: Tokens in a chunk, a power of two from 16.
        programs: Programs wanted at least; the sequence is cut into segments for that.

    Returns:
        (b, L, H, P).
    """
    batch, length, heads, width = x.shape
    groups, state = B.shape[2:]
    x, dt, B, C = (t if t.stride(-1) == 1 else t.contiguous() for t in (x, dt, B, C))
    all_chunks = triton.cdiv(length, chunk)
    segments = max(1, min(all_chunks, 32, triton.cdiv(programs, batch * heads)))
    chunks = triton.cdiv(all_chunks, segments)
    segments = triton.cdiv(all_chunks, chunks)
    states = torch.empty(batch, heads, segments, state, width, dtype=torch.float32,
                         device=x.device)
    totals = torch.empty(batch, heads, segments, dtype=torch.float32, device=x.device)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    grid = (segments, heads, batch)
    sizes = dict(Q=chunk, N=state, P=width, precision='ieee' if x.dtype == torch.float32 else
                 'tf32', num_warps=4)
    common = (length, heads, groups, segments, chunks, *x.stride()[:3], *dt.stride()[:2],
              *B.stride()[:3])
    if segments > 1:
        _segment_states[grid](x, dt, A, B, states, totals, *common, **sizes)
    _segment_outputs[grid](x, dt, A, B, C, x if D is None else D, states, totals, y, *common,
                           *C.stride()[:3], *y.stride()[:3], has_D=D is not None, **sizes)
    return y
