"""Triton kernels of the scan, forward. Import only where Triton is installed.

Two launches over (segment, head, batch). The first runs each segment of chunks from a state of
zero and writes down the state it ends with; the second adds up the states of the segments before
its own, and then walks its chunks once more with the state in registers: products inside the
chunk, output, next state. Between the two nothing but one state a segment goes through device
memory. Training also keeps the state before every chunk, in the type of the inputs.
"""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmvitlin.ops.launch import Launch

MOST_SEGMENTS = 32
# channels of a head that a program works on at a time; more spill registers
WIDEST = {torch.float32: 16, torch.bfloat16: 32, torch.float16: 32}


@triton.jit
def load_steps(dt_ptr, rate, tokens, length, stride_l):
    """Step sizes of a chunk, log decay up to each token, and over the whole chunk."""
    dt = tl.load(dt_ptr + tokens * stride_l, mask=tokens < length, other=0.).to(tl.float32)
    return dt, tl.cumsum(dt * rate, 0), tl.sum(dt * rate, 0)


@triton.jit
def load_tile(ptr, tokens, channels, length, stride_l):
    """(tokens, channels), zero behind the last token."""
    return tl.load(ptr + tokens[:, None] * stride_l + channels[None, :],
                   mask=tokens[:, None] < length, other=0.)


@triton.jit
def next_state(state, keys, values, weight, end, precision: tl.constexpr):
    """``exp(end) state + keysᵀ (weight ∘ values)``."""
    added = tl.dot(tl.trans(keys), (values * weight[:, None]).to(values.dtype),
                   input_precision=precision)
    return state * tl.exp(end) + added


@triton.jit
def segment_sums(values_ptr, dt_ptr, A_ptr, keys_ptr, sums_ptr, totals_ptr, length, heads, groups,
                 segments, chunks, v_b, v_l, v_h, dt_b, dt_l, k_b, k_l, k_g, REVERSE: tl.constexpr,
                 Q: tl.constexpr, N: tl.constexpr, P: tl.constexpr, W: tl.constexpr,
                 precision: tl.constexpr):
    """The state that each segment ends with from zero (values x, keys B), and its log decay.

    REVERSE: the gradient of the state that a segment starts with (values dy, keys C).
    """
    segment, head = tl.program_id(0) // (P // W), tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    group = head // (heads // groups)
    rate = tl.load(A_ptr + head).to(tl.float32)
    values_ptr += batch * v_b + head * v_h
    dt_ptr += batch * dt_b + head
    keys_ptr += batch * k_b + group * k_g
    q, n, p = tl.arange(0, Q), tl.arange(0, N), tl.program_id(0) % (P // W) * W + tl.arange(0, W)
    state = tl.zeros((N, W), tl.float32)
    total = 0.
    for step in range(chunks):
        chunk = segment * chunks + (chunks - 1 - step if REVERSE else step)
        tokens = chunk * Q + q
        dt, log, end = load_steps(dt_ptr, rate, tokens, length, dt_l)
        values = load_tile(values_ptr, tokens, p, length, v_l)
        keys = load_tile(keys_ptr, tokens, n, length, k_l)
        weight = tl.exp(log) if REVERSE else tl.exp(end - log) * dt
        state = next_state(state, keys, values, weight, end, precision)
        total += end
    where = (batch * heads + head) * segments + segment
    tl.store(sums_ptr + where * N * P + n[:, None] * P + p[None, :], state)
    tl.store(totals_ptr + where, total)


@triton.jit
def carried_state(sums_ptr, totals_ptr, first, count, step, n, p, N: tl.constexpr,
                  P: tl.constexpr):
    """State that ``count`` segments leave, from the one numbered ``first``, in steps of ±1."""
    state = tl.zeros((n.shape[0], p.shape[0]), tl.float32)
    for other in range(count):
        where = first + other * step
        added = tl.load(sums_ptr + where * N * P + n[:, None] * P + p[None, :])
        state = state * tl.exp(tl.load(totals_ptr + where)) + added
    return state


@triton.jit
def chunk_products(B_ptr, C_ptr, products_ptr, length, groups, count, B_b, B_l, B_g, C_b, C_l, C_g,
                   Q: tl.constexpr, N: tl.constexpr, precision: tl.constexpr):
    """``C Bᵀ`` of each chunk, which all heads of a group share."""
    chunk, group = tl.program_id(0), tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    q, n = tl.arange(0, Q), tl.arange(0, N)
    tokens = chunk * Q + q
    B = load_tile(B_ptr + batch * B_b + group * B_g, tokens, n, length, B_l)
    C = load_tile(C_ptr + batch * C_b + group * C_g, tokens, n, length, C_l)
    products = tl.dot(C, tl.trans(B), input_precision=precision)
    where = (batch * count + chunk) * groups + group
    tl.store(products_ptr + where * Q * Q + q[:, None] * Q + q[None, :], products)


@triton.jit
def load_products(products_ptr, where, Q: tl.constexpr):
    """``C Bᵀ`` of one chunk and group, (Q, Q)."""
    q = tl.arange(0, Q)
    return tl.load(products_ptr + where * Q * Q + q[:, None] * Q + q[None, :])


@triton.jit
def decays(log, Q: tl.constexpr):
    """exp(log_i − log_j) for j ≤ i, else 0; masked before exp, for there it may overflow."""
    q = tl.arange(0, Q)
    return tl.exp(tl.where(q[:, None] >= q[None, :], log[:, None] - log[None, :], -float('inf')))


@triton.jit
def segment_outputs(x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, products_ptr, sums_ptr, totals_ptr,
                    starts_ptr, y_ptr, length, heads, groups, segments, chunks, x_b, x_l, x_h, dt_b,
                    dt_l, B_b, B_l, B_g, C_b, C_l, C_g, has_D: tl.constexpr, KEEP: tl.constexpr,
                    Q: tl.constexpr, N: tl.constexpr, P: tl.constexpr, W: tl.constexpr,
                    precision: tl.constexpr):
    """Outputs of a segment, W channels of a head, and with KEEP the state before its chunks."""
    segment, head = tl.program_id(0) // (P // W), tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    group = head // (heads // groups)
    rate = tl.load(A_ptr + head).to(tl.float32)
    x_ptr += batch * x_b + head * x_h
    y_ptr += (batch * length * heads + head) * P
    dt_ptr += batch * dt_b + head
    B_ptr += batch * B_b + group * B_g
    C_ptr += batch * C_b + group * C_g
    q, n, p = tl.arange(0, Q), tl.arange(0, N), tl.program_id(0) % (P // W) * W + tl.arange(0, W)
    state = carried_state(sums_ptr, totals_ptr, (batch * heads + head) * segments, segment, 1,
                          n, p, N, P)
    for step in range(chunks):
        chunk = segment * chunks + step
        tokens = chunk * Q + q
        dt, log, end = load_steps(dt_ptr, rate, tokens, length, dt_l)
        where = batch * segments * chunks + chunk
        x = load_tile(x_ptr, tokens, p, length, x_l)
        C = load_tile(C_ptr, tokens, n, length, C_l)
        if KEEP:
            tile = (where * heads + head) * N * P + n[:, None] * P + p[None, :]
            tl.store(starts_ptr + tile, state.to(x.dtype))
        y = tl.dot(C, state.to(C.dtype), input_precision=precision) * tl.exp(log)[:, None]
        kernel = load_products(products_ptr, where * groups + group, Q)
        kernel *= decays(log, Q) * dt[None, :]
        y += tl.dot(kernel.to(x.dtype), x, input_precision=precision)
        if has_D:
            y += x * tl.load(D_ptr + head).to(tl.float32)
        tl.store(y_ptr + tokens[:, None] * heads * P + p[None, :], y.to(x.dtype),
                 mask=tokens[:, None] < length)
        B = load_tile(B_ptr, tokens, n, length, B_l)
        state = next_state(state, B, x, tl.exp(end - log) * dt, end, precision)


def sizes(x: Tensor, B: Tensor, chunk: int) -> dict:
    """Compile-time arguments that all kernels share; one warp to 16 tokens of a chunk."""
    return dict(Q=chunk, N=B.shape[3], P=x.shape[3], W=min(x.shape[3], WIDEST[x.dtype]),
                num_stages=1, num_warps=max(chunk // 16, 1),
                precision='tf32x3' if x.dtype == torch.float32 else 'tf32')


def cut(length: int, chunk: int, rows: int, programs: int) -> tuple[int, int]:
    """Segments of a sequence, and chunks of a segment, for ``programs`` programs or more."""
    all_chunks = triton.cdiv(length, chunk)
    segments = max(1, min(all_chunks, MOST_SEGMENTS, triton.cdiv(programs, rows)))
    chunks = triton.cdiv(all_chunks, segments)
    return triton.cdiv(all_chunks, chunks), chunks


def carried(x: Tensor, segments: int, state: int) -> tuple[Tensor, Tensor]:
    """Buffers between segments: states and log decays; None for one segment."""
    batch, _, heads, width = x.shape
    count = segments if segments > 1 else 0
    return (x.new_empty(batch, heads, count, state, width, dtype=torch.float32),
            x.new_empty(batch, heads, count, dtype=torch.float32))


def last_contiguous(*tensors: Tensor) -> list[Tensor]:
    """The tensors, copied where their last dimension is strided."""
    return [t if t.stride(-1) == 1 else t.contiguous() for t in tensors]


def launch_products(B: Tensor, C: Tensor, count: int, options: dict) -> tuple[Launch, Tensor]:
    """Launch that fills ``C Bᵀ`` of ``count`` chunks, (b, K, G, Q, Q)."""
    batch, length, groups, _ = B.shape
    chunk = options['Q']
    products = B.new_empty(batch, count, groups, chunk, chunk, dtype=torch.float32)
    unused = ('P', 'W')
    return Launch(chunk_products, (count, groups, batch),
                  (B, C, products, length, groups, count, *B.stride()[:3], *C.stride()[:3]),
                  {k: v for k, v in options.items() if k not in unused}), products


def scan_forward(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                 chunk: int, programs: int, keep: bool) -> tuple[list[Launch], Tensor, Tensor]:
    """Launches of the forward pass.

    Args:
        x: (b, L, H, P) with P a power of two from 16; other inputs as
            :func:`mmvitlin.ops.ssd`, N a power of two from 16.
        chunk: Tokens in a chunk, a power of two from 16.
        programs: Programs wanted at least; the sequence is cut into segments for that.
        keep: Keep the state before every chunk.

    Returns:
        Launches, which fill (b, L, H, P) and, with ``keep``, the states (b, K, H, N, P).
    """
    batch, length, heads, width = x.shape
    groups, state = B.shape[2:]
    x, dt, B, C = last_contiguous(x, dt, B, C)
    options = sizes(x, B, chunk)
    blocks = width // options['W']
    segments, chunks = cut(length, chunk, batch * heads * blocks, programs)
    sums, totals = carried(x, segments, state)
    starts = x.new_empty(batch, segments * chunks if keep else 0, heads, state, width)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    grid = (segments * blocks, heads, batch)
    common = (length, heads, groups, segments, chunks, *x.stride()[:3], *dt.stride()[:2],
              *B.stride()[:3])
    first, products = launch_products(B, C, segments * chunks, options)
    launches = [first]
    if segments > 1:
        launches.append(Launch(segment_sums, grid, (x, dt, A, B, sums, totals, *common),
                               dict(options, REVERSE=False)))
    launches.append(Launch(
        segment_outputs, grid,
        (x, dt, A, B, C, x if D is None else D, products, sums, totals, starts, y, *common,
         *C.stride()[:3]),
        dict(options, has_D=D is not None, KEEP=keep,
             num_warps=4 if x.dtype == torch.float32 else options['num_warps'])))
    return launches, y, starts
