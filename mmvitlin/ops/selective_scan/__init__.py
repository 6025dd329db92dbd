"""The selective scan of Mamba-1: a state of its own for every channel."""
from __future__ import annotations

import math

import torch
from torch import Tensor

from mmvitlin.ops import packages
from mmvitlin.ops.launch import warn_of_eager
from mmvitlin.ops.precision import no_autocast
from mmvitlin.ops.selective_scan.reference import selective_scan_reference

__all__ = ['selective_scan', 'selective_scan_reference']

_TILE_NUMBERS = 2**21  # states of a tile, which stay in the cache
_TILE_NUMBERS_GPU = 2**24  # enough to keep a GPU busy


def _mamba_ssm_problem(x: Tensor, A: Tensor) -> str | None:
    if x.dtype == torch.float64 or A.shape[1] > 256:
        return f'it takes no float64 and up to 256 numbers a channel, not {x.dtype}, {A.shape[1]}'
    return packages.why_not("mamba-ssm's CUDA extension", x)


@torch.compiler.disable
def selective_scan_mamba_ssm(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
                             D: Tensor | None = None) -> Tensor:
    """By mamba-ssm's CUDA kernel, in float32: it takes one type, and step sizes need that one."""
    u, step, b, c = (t.float().transpose(1, 2).contiguous() for t in (x, dt, B, C))
    with torch.cuda.device_of(x):
        y = packages.mamba_selective_scan()(u, step, A.float(), b, c,
                                            None if D is None else D.float())
    return y.transpose(1, 2).to(x.dtype)


def selective_scan(x: Tensor,
                   dt: Tensor,
                   A: Tensor,
                   B: Tensor,
                   C: Tensor,
                   D: Tensor | None = None,
                   backend: str = 'auto') -> Tensor:
    """Selective scan by mamba-ssm's CUDA kernel, or tile by tile in ordinary operators.

    Args:
        backend: 'auto' ('mamba_ssm' where it can run, else 'torch', with a warning on a GPU),
            'mamba_ssm' or 'torch'.

    Raises:
        ValueError: an unknown backend.
        RuntimeError: mamba-ssm was asked for and cannot run; says why and what to install.

    Shapes, result and source as in :func:`selective_scan_reference`. Within a tile a CPU goes from
    token to token, a GPU by doubling the distance (about 2 log2(tile) passes). For the backward
    pass about √L states are kept and the rest computed again.
    """
    if backend not in ('auto', 'mamba_ssm', 'torch'):
        raise ValueError(f"backend must be 'auto', 'mamba_ssm' or 'torch', got '{backend}'")
    reason = _mamba_ssm_problem(x, A)
    if backend == 'mamba_ssm' and reason:
        raise RuntimeError(f"selective scan backend 'mamba_ssm' cannot run: {reason}")
    if reason is None and backend != 'torch':
        return selective_scan_mamba_ssm(x, dt, A, B, C, D)
    if backend == 'auto':
        warn_of_eager('the scan of Mamba-1', x, reason)
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
                *tile_grads, gA_here, later = _tile_backward(
                    *(t[part] for t in (dy, x, dt, B, C)), A, starts[k], later)
                gA += gA_here
                for grad, here in zip(grads, tile_grads, strict=True):
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
