"""The selective scan of Mamba-1: a state of its own for every channel."""
from __future__ import annotations

import torch
from torch import Tensor

_TILE_NUMBERS = 2**21  # states of a tile, which stay in the cache


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
    """Selective scan tile by tile: one multiply-add a token, everything else over whole tiles.

    Shapes, result and source as in :func:`selective_scan_reference`. For the backward pass one
    state a tile is kept and the rest computed again.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    x_ = x.to(wide)
    given = [x_, *(t.to(wide) for t in (dt, A, B, C))]
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in given)
    tile = max(_TILE_NUMBERS // max(x.shape[0] * A.numel(), 1), 1)
    y, _ = torch.ops.mmvitlin.selective_scan(*given, tile, keep)
    if D is not None:
        y = torch.addcmul(y, x_, D.to(wide))
    return y.to(x.dtype)


def _states(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Decays and states (Q, B, C, N) of a tile whose inputs have their Q tokens first."""
    decays = torch.exp(dt[..., None] * A)
    states = torch.empty_like(decays)
    torch.mul((dt * x)[..., None], B[:, :, None], out=states)
    for decay, here in zip(decays, states, strict=True):
        here.addcmul_(decay, state)
        state = here
    return decays, states


@torch.library.custom_op('mmvitlin::selective_scan', mutates_args=())
def _scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, tile: int,
          keep: bool) -> tuple[Tensor, Tensor]:
    """Outputs, and the state before every tile (K, B, C, N) if ``keep`` (else an empty tensor)."""
    batch, length, width = x.shape
    y = x.new_empty(length, batch, width)
    first = [t.transpose(0, 1).contiguous() for t in (x, dt, B, C)]  # tokens first
    state, kept = x.new_zeros(batch, *A.shape), []
    for at in range(0, length, tile):
        px, pdt, pB, pC = (t[at:at + tile] for t in first)
        kept.append(state)
        _, states = _states(px, pdt, A, pB, state)
        y[at:at + tile] = (states @ pC[..., None])[..., 0]
        state = states[-1].clone()
    starts = torch.stack(kept) if keep and kept else x.new_empty(0)
    return y.transpose(0, 1).contiguous(), starts


@_scan.register_fake
def _(x, dt, A, B, C, tile, keep):
    shape = (-(-x.shape[1] // tile), x.shape[0], *A.shape) if keep else (0, )
    return x.new_empty(x.shape), x.new_empty(shape)


@torch.library.custom_op('mmvitlin::selective_scan_backward', mutates_args=())
def _scan_backward(dy: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
                   starts: Tensor, tile: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, dt, A, B and C."""
    dy, x, dt, B, C = (t.transpose(0, 1).contiguous() for t in (dy, x, dt, B, C))
    gx, gdt, gB, gC = (torch.empty_like(t) for t in (x, dt, B, C))
    gA, later = torch.zeros_like(A), None
    for n in reversed(range(len(starts))):
        part = slice(n * tile, (n + 1) * tile)
        px, pdt, pB, pC, pdy = (t[part] for t in (x, dt, B, C, dy))
        decays, states = _states(px, pdt, A, pB, starts[n])
        gC[part] = torch.einsum('qbcn,qbc->qbn', states, pdy)
        g = pdy[..., None] * pC[:, :, None]  # of the states
        if later is not None:
            g[-1] += later
        for t in range(len(g) - 1, 0, -1):
            g[t - 1].addcmul_(decays[t], g[t])
        later = decays[0] * g[0]
        through = (g @ pB[..., None])[..., 0]
        gx[part] = through * pdt
        gB[part] = torch.einsum('qbcn,qbc->qbn', g, pdt * px)
        g.mul_(decays)  # of dt · A, once multiplied with the states before
        g[0] *= starts[n]
        g[1:] *= states[:-1]
        gdt[part] = (g * A).sum(-1) + through * px
        gA += torch.einsum('qbcn,qbc->cn', g, pdt)
    gx, gdt, gB, gC = (t.transpose(0, 1).contiguous() for t in (gx, gdt, gB, gC))
    return gx, gdt, gA, gB, gC


@_scan_backward.register_fake
def _(dy, x, dt, A, B, C, starts, tile):
    return tuple(t.new_empty(t.shape) for t in (x, dt, A, B, C))


def _setup(ctx, inputs, output):
    *tensors, ctx.tile, _ = inputs
    ctx.save_for_backward(*tensors, output[1])


def _differentiate(ctx, dy, _):
    *tensors, starts = ctx.saved_tensors
    return (*torch.ops.mmvitlin.selective_scan_backward(dy.contiguous(), *tensors, starts,
                                                        ctx.tile), None, None)


_scan.register_autograd(_differentiate, setup_context=_setup)
