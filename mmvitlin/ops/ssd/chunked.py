"""The state space dual scan as matrix products over chunks, in plain torch.

Tokens are walked in segments of a few chunks (:mod:`mmvitlin.ops.ssd.segments`), so that everything
of one segment stays in the processor's cache and memory does not grow beyond inputs, outputs
and one state a chunk.
"""
from __future__ import annotations

import torch
from torch import Tensor

from mmvitlin.ops.precision import no_autocast
from mmvitlin.ops.ssd.segments import (
    cut,
    even_chunk,
    forward_segment,
    pad,
    scan_segment_backward,
    segments,
)

DEFAULT_CHUNK = 64


def _zero_state(x: Tensor, B: Tensor) -> Tensor:
    groups, state = B.shape[2:]
    acc = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_zeros(x.shape[0], groups, state, x.shape[2] // groups, x.shape[3], dtype=acc)


@torch.library.custom_op('mmvitlin::ssd_chunked', mutates_args=())
def _scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk: int,
          keep: bool) -> tuple[Tensor, Tensor]:
    """Outputs, and the state before every chunk if ``keep`` (else an empty tensor)."""
    length = x.shape[1]
    px, pdt, pB, pC = pad((x, dt, B, C), -length % chunk)
    out, kept, state = torch.empty_like(px), [], _zero_state(x, B)
    with no_autocast(x):
        for a, z in segments(px, chunk):
            y, starts, state = forward_segment(
                cut(px[:, a:z], pdt[:, a:z], A, pB[:, a:z], pC[:, a:z], chunk), state)
            out[:, a:z] = y.reshape(x.shape[0], z - a, *x.shape[2:])
            if keep:
                kept.append(starts)
    states = torch.cat(kept, dim=1) if keep else state.new_empty(0)
    return out[:, :length].contiguous(), states


@_scan.register_fake
def _(x, dt, A, B, C, chunk, keep):
    state = _zero_state(x, B)
    num = -(-x.shape[1] // chunk)
    states = state.new_empty(state.shape[0], num, *state.shape[1:]) if keep else state.new_empty(0)
    return x.new_empty(x.shape), states


@torch.library.custom_op('mmvitlin::ssd_chunked_backward', mutates_args=())
def _scan_backward(dy: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
                   states: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, dt, A, B and C."""
    grads = [torch.empty_like(t) for t in (x, dt, B, C)]
    d_A = torch.zeros_like(A, dtype=states.dtype)
    after = torch.zeros_like(states[:, 0])
    with no_autocast(x):
        for a, z in reversed(list(segments(x, chunk))):
            d_x, d_dt, part, d_B, d_C, after = scan_segment_backward(
                dy[:, a:z], x[:, a:z], dt[:, a:z], A, B[:, a:z], C[:, a:z],
                states[:, a // chunk:-(-z // chunk)], after, chunk)
            d_A += part
            for grad, value in zip(grads, (d_x, d_dt, d_B, d_C), strict=True):
                grad[:, a:z] = value
    return (*grads[:2], d_A.to(A.dtype), *grads[2:])


@_scan_backward.register_fake
def _(dy, x, dt, A, B, C, states, chunk):
    return tuple(t.new_empty(t.shape) for t in (x, dt, A, B, C))


def _setup(ctx, inputs, output):
    *tensors, ctx.chunk, _ = inputs
    ctx.save_for_backward(*tensors, output[1])


def _differentiate(ctx, dy, _):
    *tensors, states = ctx.saved_tensors
    return (*torch.ops.mmvitlin.ssd_chunked_backward(dy.contiguous(), *tensors, states, ctx.chunk),
            None, None)


_scan.register_autograd(_differentiate, setup_context=_setup)


def ssd_chunked(x: Tensor,
                dt: Tensor,
                A: Tensor,
                B: Tensor,
                C: Tensor,
                D: Tensor | None = None,
                chunk_size: int | None = None) -> Tensor:
    """State space dual scan in O(L · chunk) with matrix products inside chunks.

    Shapes, result and source as in :func:`ssd_reference`. Any length: the last chunk is
    padded with steps of size zero, which change nothing. Decays are kept as logarithms in
    float32; no difference of them that could overflow is exponentiated. ``C Bᵀ`` is computed
    once a group and shared by the group's heads. The backward pass recomputes what is inside
    chunks: inputs and one state a chunk are all that is kept. A registered operator
    (``mmvitlin::ssd_chunked``), so compiling and exporting see no graph break.

    Args:
        chunk_size: Tokens in a chunk (default 64; fewer on a CPU where that pads less).
    """
    length = x.shape[1]
    even = x.device.type == 'cpu' and chunk_size is None
    chunk = even_chunk(length, DEFAULT_CHUNK) if even else min(chunk_size or DEFAULT_CHUNK, length)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, dt, A, B, C))
    y, _ = torch.ops.mmvitlin.ssd_chunked(x, dt, A, B, C, chunk, keep)
    return y if D is None else torch.addcmul(y, x, D.to(x.dtype)[:, None])
