"""The selective scan of Mamba-1: a state of its own for every channel."""
from __future__ import annotations

import math

import torch
from torch import Tensor

from mmvitlin.ops.precision import no_autocast

_TILE_NUMBERS = 2**21  # states of a tile, which stay in the cache
_TILE_NUMBERS_GPU = 2**24  # enough to keep a GPU busy


def selective_scan_reference(x: Tensor,
                             dt: Tensor,
                             A: Tensor,
                             B: Tensor,
                             C: Tensor,
                             D: Tensor | None = None) -> Tensor:
    """Selective scan, token by token.

    ``h[t] = exp(dt[t] A) h[t − 1] + dt[t] x[t] B[t]``, ``y[t] = C[t] · h[t] + D x[t]`` with one
    state of N numbers for each channel.

    Args:
        x: (B, L, C).
        dt: (B, L, C), positive.
        A: (C, N), negative.
        B: (B, L, N).
        C: (B, L, N).
        D: (C,) or None.

    Returns:
        (B, L, C), of the type of ``x``; sums are in float32 or wider.

    Source: Mamba (arXiv 2312.00752), equations 2 and 4, with ``B`` discretised as its code does.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    x_, dt, A, B, C = (t.to(wide) for t in (x, dt, A, B, C))
    state = x_.new_zeros(x.shape[0], *A.shape)
    rows = []
    for t in range(x.shape[1]):
        step = dt[:, t, :, None]
        state = torch.exp(step * A) * state + step * x_[:, t, :, None] * B[:, t, None]
        rows.append((state * C[:, t, None]).sum(-1))
    y = torch.stack(rows, 1) if rows else torch.zeros_like(x_)
    if D is not None:
        y = y + D.to(wide) * x_
    return y.to(x.dtype)


def selective_scan(x: Tensor,
                   dt: Tensor,
                   A: Tensor,
                   B: Tensor,
                   C: Tensor,
                   D: Tensor | None = None) -> Tensor:
    """Selective scan tile by tile, everything but the recurrence over whole tiles.

    Shapes, result and source as in :func:`selective_scan_reference`. Within a tile a CPU goes from
    token to token, a GPU by doubling the distance (about 2 log2(tile) passes). For the backward
    pass about √L states are kept and the rest computed again.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    x_ = x.to(wide)
    given = [x_, *(t.to(wide) for t in (dt, A, B, C))]
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in given)
    numbers = _TILE_NUMBERS_GPU if x.is_cuda else _TILE_NUMBERS
    tile = max(numbers // max(x.shape[0] * A.numel(), 1), 1)
    y, _ = torch.ops.mmvitlin.selective_scan(*given, tile, keep)
    if D is not None:
        y = torch.addcmul(y, x_, D.to(wide))
    return y.to(x.dtype)


def _span(length: int, tile: int) -> int:
    """Tokens between two kept states, a multiple of the tile."""
    return tile * max(math.isqrt(length) // tile, 1)


def _doubles(x: Tensor) -> bool:
    return x.is_cuda


def _recur(decays: Tensor, terms: Tensor, doubling: bool) -> None:
    """``terms[t] += decays[t] · terms[t − 1]`` from t = 1 on, in place; ``decays[0]`` is unused.

    With ``doubling``, sums over 1, 2, 4 … tokens (Hillis and Steele), which needs no order.
    """
    if not doubling:
        for t in range(1, len(terms)):
            terms[t].addcmul_(decays[t], terms[t - 1])
        return
    distance = 1
    while distance < len(terms):
        terms[distance:] = torch.addcmul(terms[distance:], decays[distance:], terms[:-distance])
        decays = torch.cat([decays[:distance], decays[distance:] * decays[:-distance]])
        distance *= 2


def _states(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Decays and states (Q, B, C, N) of a tile whose inputs have their Q tokens first."""
    decays = torch.exp(dt[..., None] * A)
    states = (dt * x)[..., None] * B[:, :, None]
    states[0].addcmul_(decays[0], state)
    _recur(decays, states, _doubles(x))
    return decays, states


@torch.library.custom_op('mmvitlin::selective_scan', mutates_args=())
def _scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, tile: int,
          keep: bool) -> tuple[Tensor, Tensor]:
    """Outputs, and, if ``keep``, the states (K, B, C, N) that :func:`_span` asks for."""
    batch, length, width = x.shape
    span = _span(length, tile)
    y = x.new_empty(length, batch, width)
    kept = x.new_empty(-(-length // span) if keep else 0, batch, *A.shape)
    with no_autocast(x):
        first = [t.transpose(0, 1).contiguous() for t in (x, dt, B, C)]  # tokens first
        state = x.new_zeros(batch, *A.shape)
        for at in range(0, length, tile):
            px, pdt, pB, pC = (t[at:at + tile] for t in first)
            if keep and at % span == 0:
                kept[at // span] = state
            _, states = _states(px, pdt, A, pB, state)
            y[at:at + tile] = (states @ pC[..., None])[..., 0]
            state = states[-1].clone()
    return y.transpose(0, 1).contiguous(), kept


@_scan.register_fake
def _(x, dt, A, B, C, tile, keep):
    batch, length, _ = x.shape
    count = -(-length // _span(length, tile)) if keep else 0
    return x.new_empty(x.shape), x.new_empty(count, batch, *A.shape)


@torch.library.custom_op('mmvitlin::selective_scan_backward', mutates_args=())
def _scan_backward(dy: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
                   kept: Tensor, tile: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, dt, A, B and C."""
    dy, x, dt, B, C = (t.transpose(0, 1).contiguous() for t in (dy, x, dt, B, C))
    grads = [torch.empty_like(t) for t in (x, dt, B, C)]
    gA, later, length = torch.zeros_like(A), None, len(x)
    span = _span(length, tile)
    with no_autocast(x):
        for n in reversed(range(len(kept))):
            end, state, starts = min((n + 1) * span, length), kept[n], []
            for at in range(n * span, end, tile):  # the state before every tile, again
                starts.append(state)
                if at + tile < end:
                    px, pdt, pB = (t[at:at + tile] for t in (x, dt, B))
                    state = _states(px, pdt, A, pB, state)[1][-1].clone()
            for k in reversed(range(len(starts))):
                at = n * span + k * tile
                part = slice(at, min(at + tile, end))
                found = _tile_backward(*(t[part] for t in (dy, x, dt, B, C)), A, starts[k], later)
                *ours, gA_here, later = found
                gA += gA_here
                for grad, here in zip(grads, ours, strict=True):
                    grad[part] = here
    gx, gdt, gB, gC = (t.transpose(0, 1).contiguous() for t in grads)
    return gx, gdt, gA, gB, gC


def _tile_backward(dy: Tensor, x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor,
                   start: Tensor, later: Tensor | None) -> tuple[Tensor, ...]:
    """Gradients of a tile's x, dt, B, C, of A, and of the state before it.

    ``start`` is the state before the tile, ``later`` the gradient of that behind it.
    """
    decays, states = _states(x, dt, A, B, start)
    gC = torch.einsum('qbcn,qbc->qbn', states, dy)
    g = dy[..., None] * C[:, :, None]  # of the states
    if later is not None:
        g[-1] += later
    if _doubles(x):
        backwards = g.flip(0)
        _recur(torch.cat([decays[:1], decays[1:].flip(0)]), backwards, True)
        g = backwards.flip(0)
    else:
        for t in range(len(g) - 1, 0, -1):
            g[t - 1].addcmul_(decays[t], g[t])
    before = decays[0] * g[0]
    through = (g @ B[..., None])[..., 0]
    gx, gB = through * dt, torch.einsum('qbcn,qbc->qbn', g, dt * x)
    g.mul_(decays)  # of dt · A, once multiplied with the states before
    g[0] *= start
    g[1:] *= states[:-1]
    gdt = (g * A).sum(-1) + through * x
    return gx, gdt, gB, gC, torch.einsum('qbcn,qbc->cn', g, dt), before


@_scan_backward.register_fake
def _(dy, x, dt, A, B, C, kept, tile):
    return tuple(t.new_empty(t.shape) for t in (x, dt, A, B, C))


def _setup(ctx, inputs, output):
    *tensors, ctx.tile, _ = inputs
    ctx.save_for_backward(*tensors, output[1])


def _differentiate(ctx, dy, _):
    *tensors, kept = ctx.saved_tensors
    return (*torch.ops.mmvitlin.selective_scan_backward(dy.contiguous(), *tensors, kept,
                                                        ctx.tile), None, None)


_scan.register_autograd(_differentiate, setup_context=_setup)
