"""Triton kernels of the scan, backward. Import only where Triton is installed.

The gradient of the state is carried from the last chunk to the first as the state is in the
forward pass, and written down behind every chunk. All else is inside one chunk, in three launches,
for all at once needs more registers than there are: what passes through ``C Bᵀ``, what reaches
the values, and what passes through the states. Where heads share B and C, a program goes through
several heads and adds up.

Source: Mamba-2 (arXiv 2405.21060), section 6, differentiated; the same sums as in
:mod:`mmvitlin.ops.ssd.chunked`.
"""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmvitlin.ops.launch import Launch
from mmvitlin.ops.ssd.kernels import (
    carried,
    carried_state,
    cut,
    last_contiguous,
    launch_products,
    load_steps,
    load_tile,
    next_state,
    segment_sums,
    sizes,
)


@triton.jit
def segment_gradients(dy_ptr, dt_ptr, A_ptr, C_ptr, sums_ptr, totals_ptr, afters_ptr, length, heads,
                      groups, segments, chunks, dy_b, dy_l, dy_h, dt_b, dt_l, C_b, C_l, C_g,
                      Q: tl.constexpr, N: tl.constexpr, P: tl.constexpr, W: tl.constexpr,
                      precision: tl.constexpr):
    """Gradient of the state behind each chunk of a segment, W channels of a head."""
    segment, head = tl.program_id(0) // (P // W), tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    group = head // (heads // groups)
    rate = tl.load(A_ptr + head).to(tl.float32)
    dy_ptr += batch * dy_b + head * dy_h
    dt_ptr += batch * dt_b + head
    C_ptr += batch * C_b + group * C_g
    q, n, p = tl.arange(0, Q), tl.arange(0, N), tl.program_id(0) % (P // W) * W + tl.arange(0, W)
    last = (batch * heads + head) * segments + segments - 1
    after = carried_state(sums_ptr, totals_ptr, last, segments - 1 - segment, -1, n, p, N, P)
    for step in range(chunks):
        chunk = segment * chunks + chunks - 1 - step
        tokens = chunk * Q + q
        _, log, end = load_steps(dt_ptr, rate, tokens, length, dt_l)
        dy = load_tile(dy_ptr, tokens, p, length, dy_l)
        C = load_tile(C_ptr, tokens, n, length, C_l)
        where = (batch * segments * chunks + chunk) * heads + head
        tl.store(afters_ptr + where * N * P + n[:, None] * P + p[None, :], after.to(dy.dtype))
        after = next_state(after, C, dy, tl.exp(log), end, precision)


@triton.jit
def product_gradients(x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, products_ptr, dy_ptr, steps_ptr, dB_ptr,
                      dC_ptr, length, heads, groups, count, share, blocks, x_b, x_l, x_h, dt_b,
                      dt_l, B_b, B_l, B_g, C_b, C_l, C_g, dy_b, dy_l, dy_h, Q: tl.constexpr,
                      N: tl.constexpr, P: tl.constexpr, W: tl.constexpr, precision: tl.constexpr):
    """Gradients of the log decays, B and C through the products inside a chunk.

    Everything of (Q, Q) has the token that is read in rows and the one that reads in columns.
    """
    chunk, part = tl.program_id(0), tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    group = part * share // (heads // groups)
    q, n = tl.arange(0, Q), tl.arange(0, N)
    tokens = chunk * Q + q
    inside = tokens < length
    where = ((batch * count + chunk) * groups + group) * Q * Q
    d_products = tl.zeros((Q, Q), tl.float32)
    for other in range(share):
        head = part * share + other
        rate = tl.load(A_ptr + head).to(tl.float32)
        dt, log, end = load_steps(dt_ptr + batch * dt_b + head, rate, tokens, length, dt_l)
        d_kernel = tl.zeros((Q, Q), tl.float32)
        for block in range(blocks):
            p = block * W + tl.arange(0, W)
            x = load_tile(x_ptr + batch * x_b + head * x_h, tokens, p, length, x_l)
            dy = load_tile(dy_ptr + batch * dy_b + head * dy_h, tokens, p, length, dy_l)
            d_kernel = tl.dot(x, tl.trans(dy), d_kernel, input_precision=precision)
        d_kernel *= read_decays(log, Q) * dt[:, None]
        d_products += d_kernel
        pairs = d_kernel * tl.load(products_ptr + where + q[:, None] + q[None, :] * Q)
        pairs = tl.where(q[:, None] < q[None, :], pairs, 0.)
        d_log = tl.sum(pairs, 0) - tl.sum(pairs, 1)
        row = (batch * length + tokens) * heads + head
        tl.store(steps_ptr + row, tl.cumsum(d_log, 0, reverse=True), mask=inside)
    B = load_tile(B_ptr + batch * B_b + group * B_g, tokens, n, length, B_l)
    C = load_tile(C_ptr + batch * C_b + group * C_g, tokens, n, length, C_l)
    inner = d_products.to(B.dtype)
    out = ((batch * length + tokens) * tl.num_programs(1) + part)[:, None] * N + n[None, :]
    tl.store(dB_ptr + out, tl.dot(inner, C, input_precision=precision), mask=inside[:, None])
    tl.store(dC_ptr + out, tl.dot(tl.trans(inner), B, input_precision=precision),
             mask=inside[:, None])


@triton.jit
def read_decays(log, Q: tl.constexpr):
    """:func:`decays` with the token that is read in rows."""
    q = tl.arange(0, Q)
    return tl.exp(tl.where(q[:, None] <= q[None, :], log[None, :] - log[:, None], -float('inf')))


@triton.jit
def value_gradients(x_ptr, dt_ptr, A_ptr, B_ptr, D_ptr, products_ptr, dy_ptr, afters_ptr, dx_ptr,
                    ddt_ptr, steps_ptr, dD_ptr, length, heads, groups, count, share, blocks, x_b,
                    x_l, x_h, dt_b, dt_l, B_b, B_l, B_g, dy_b, dy_l, dy_h, has_D: tl.constexpr,
                    Q: tl.constexpr, N: tl.constexpr, P: tl.constexpr, W: tl.constexpr,
                    precision: tl.constexpr):
    """Gradients of x and D, and of dt and the log decays by what is written to the state."""
    chunk, head = tl.program_id(0), tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    group = head // (heads // groups)
    q, n = tl.arange(0, Q), tl.arange(0, N)
    tokens = chunk * Q + q
    inside = tokens < length
    place = batch * count + chunk
    rate = tl.load(A_ptr + head).to(tl.float32)
    dt, log, end = load_steps(dt_ptr + batch * dt_b + head, rate, tokens, length, dt_l)
    row = (batch * length + tokens) * heads + head
    where = (place * groups + group) * Q * Q
    kernel = tl.load(products_ptr + where + q[:, None] + q[None, :] * Q) * read_decays(log, Q)
    kernel = kernel.to(x_ptr.dtype.element_ty)
    d_dt, given = tl.zeros((Q, ), tl.float32), tl.zeros((Q, ), tl.float32)
    d_D = 0.
    for block in range(blocks):
        p = block * W + tl.arange(0, W)
        after = tl.load(afters_ptr + (place * heads + head) * N * P + n[:, None] * P + p[None, :])
        B = load_tile(B_ptr + batch * B_b + group * B_g, tokens, n, length, B_l)
        d_values = tl.dot(B, after, input_precision=precision) * tl.exp(end - log)[:, None]
        x = load_tile(x_ptr + batch * x_b + head * x_h, tokens, p, length, x_l)
        given += tl.sum(d_values * x, 1)
        dy = load_tile(dy_ptr + batch * dy_b + head * dy_h, tokens, p, length, dy_l)
        d_values += tl.dot(kernel, dy, input_precision=precision)
        d_dt += tl.sum(d_values * x, 1)
        d_x = d_values * dt[:, None]
        if has_D:
            d_x += dy * tl.load(D_ptr + head).to(tl.float32)
            d_D += tl.sum(tl.sum(dy.to(tl.float32) * x, 1), 0)
        tl.store(dx_ptr + row[:, None] * P + p[None, :], d_x.to(x.dtype), mask=inside[:, None])
    given *= dt
    d_step = tl.load(steps_ptr + row, mask=inside, other=0.)
    d_step += tl.sum(given, 0) - tl.cumsum(given, 0, reverse=True)
    tl.store(ddt_ptr + row, d_dt, mask=inside)
    tl.store(steps_ptr + row, d_step, mask=inside)
    if has_D:
        tl.store(dD_ptr + place * heads + head, d_D)


@triton.jit
def state_gradients(x_ptr, dt_ptr, A_ptr, C_ptr, dy_ptr, starts_ptr, afters_ptr, steps_ptr, ddt_ptr,
                    dA_ptr, dB_ptr, dC_ptr, length, heads, groups, count, share, blocks, x_b, x_l,
                    x_h, dt_b, dt_l, C_b, C_l, C_g, dy_b, dy_l, dy_h, Q: tl.constexpr,
                    N: tl.constexpr, P: tl.constexpr, W: tl.constexpr, precision: tl.constexpr):
    """Gradients of B and C through the states, and with what is there of dt and A."""
    chunk, part = tl.program_id(0), tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    group = part * share // (heads // groups)
    q, n = tl.arange(0, Q), tl.arange(0, N)
    tokens = chunk * Q + q
    inside = tokens < length
    C = load_tile(C_ptr + batch * C_b + group * C_g, tokens, n, length, C_l)
    d_B, d_C = tl.zeros((Q, N), tl.float32), tl.zeros((Q, N), tl.float32)
    for other in range(share):
        head = part * share + other
        rate = tl.load(A_ptr + head).to(tl.float32)
        dt, log, end = load_steps(dt_ptr + batch * dt_b + head, rate, tokens, length, dt_l)
        place = (batch * count + chunk) * heads + head
        taken = tl.zeros((Q, ), tl.float32)
        kept = 0.
        for block in range(blocks):
            p = block * W + tl.arange(0, W)
            tile = place * N * P + n[:, None] * P + p[None, :]
            dy = load_tile(dy_ptr + batch * dy_b + head * dy_h, tokens, p, length, dy_l)
            start = tl.load(starts_ptr + tile)
            from_state = tl.dot((dy * tl.exp(log)[:, None]).to(dy.dtype), tl.trans(start),
                                input_precision=precision)
            d_C += from_state
            taken += tl.sum(from_state * C, 1)
            after = tl.load(afters_ptr + tile)
            kept += tl.sum(tl.sum(after.to(tl.float32) * start, 1), 0)
            x = load_tile(x_ptr + batch * x_b + head * x_h, tokens, p, length, x_l)
            d_B += tl.dot((x * (tl.exp(end - log) * dt)[:, None]).to(x.dtype), tl.trans(after),
                          input_precision=precision)
        row = (batch * length + tokens) * heads + head
        d_step = tl.load(steps_ptr + row, mask=inside, other=0.) + kept * tl.exp(end)
        d_step += tl.cumsum(taken, 0, reverse=True)
        d_dt = tl.load(ddt_ptr + row, mask=inside, other=0.) + d_step * rate
        tl.store(ddt_ptr + row, d_dt, mask=inside)
        tl.store(dA_ptr + place, tl.sum(d_step * dt, 0))
    where = ((batch * length + tokens) * tl.num_programs(1) + part)[:, None] * N + n[None, :]
    d_B += tl.load(dB_ptr + where, mask=inside[:, None], other=0.)
    d_C += tl.load(dC_ptr + where, mask=inside[:, None], other=0.)
    tl.store(dB_ptr + where, d_B, mask=inside[:, None])
    tl.store(dC_ptr + where, d_C, mask=inside[:, None])


def heads_of_a_program(heads: int, groups: int, rows: int, programs: int) -> int:
    """The most heads of a group in one program that leave ``programs`` programs or more."""
    per_group = heads // groups
    shares = [n for n in range(1, per_group + 1) if per_group % n == 0]
    return max((n for n in shares if rows * (heads // n) >= programs), default=1)


def scan_backward(dy: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
                  D: Tensor | None, starts: Tensor, chunk: int, programs: int
                  ) -> tuple[list[Launch], dict[str, Tensor]]:
    """Launches of the backward pass.

    Args:
        dy: Gradient of the output, (b, L, H, P).
        x: As :func:`mmvitlin.ops.ssd.kernels.scan_forward`; so dt, A, B, C, D, chunk, programs.
        starts: State before every chunk, (b, K, H, N, P).

    Returns:
        Launches, and what they fill: ``x`` (b, L, H, P), ``dt`` (b, L, H) in float32, parts of
        ``A`` and ``D`` (b, K, H), parts of ``B`` and ``C`` (b, L, G, parts, N), in float32.
    """
    batch, length, heads, width = x.shape
    groups, state = B.shape[2:]
    dy, x, dt, B, C = last_contiguous(dy, x, dt, B, C)
    options = sizes(x, B, chunk)
    blocks = width // options['W']
    segments, chunks = cut(length, chunk, batch * heads * blocks, programs)
    count = segments * chunks
    sums, totals = carried(x, segments, state)
    afters = torch.empty_like(starts)
    walk = (length, heads, groups, segments, chunks, *dy.stride()[:3], *dt.stride()[:2],
            *C.stride()[:3])
    grid = (segments * blocks, heads, batch)
    first, products = launch_products(B, C, count, options)
    launches = [first]
    if segments > 1:
        launches.append(Launch(segment_sums, grid, (dy, dt, A, C, sums, totals, *walk),
                               dict(options, REVERSE=True)))
    launches.append(Launch(segment_gradients, grid, (dy, dt, A, C, sums, totals, afters, *walk),
                           options))

    share = heads_of_a_program(heads, groups, batch * count, programs)
    parts = heads // groups // share
    exact = dict(dtype=torch.float32, device=x.device)
    steps = torch.empty(batch, length, heads, **exact)
    grads = dict(x=torch.empty(x.shape, dtype=x.dtype, device=x.device),
                 dt=torch.empty_like(steps),
                 A=torch.empty(batch, count, heads, **exact),
                 D=torch.empty(batch, count if D is not None else 0, heads, **exact),
                 B=torch.empty(batch, length, groups, parts, state, **exact),
                 C=torch.empty(batch, length, groups, parts, state, **exact))
    grid = (count, heads // share, batch)
    strides = (*x.stride()[:3], *dt.stride()[:2])
    common = (length, heads, groups, count, share, blocks, *strides)
    single = x.dtype == torch.float32  # with the options of the others some spill registers
    wide = dict(options, W=min(width, 32), num_warps=4) if single else options
    launches.append(Launch(
        product_gradients, grid,
        (x, dt, A, B, C, products, dy, steps, grads['B'], grads['C'], length, heads, groups, count,
         share, width // wide['W'], *strides, *B.stride()[:3], *C.stride()[:3], *dy.stride()[:3]),
        wide))
    launches.append(Launch(
        value_gradients, (count, heads, batch),
        (x, dt, A, B, x if D is None else D, products, dy, afters, grads['x'], grads['dt'], steps,
         grads['D'], *common, *B.stride()[:3], *dy.stride()[:3]),
        dict(options, has_D=D is not None)))
    launches.append(Launch(
        state_gradients, grid,
        (x, dt, A, C, dy, starts, afters, steps, grads['dt'], grads['A'], grads['B'], grads['C'],
         *common, *C.stride()[:3], *dy.stride()[:3]),
        dict(options, num_warps=4 if single else options['num_warps'])))
    return launches, grads
