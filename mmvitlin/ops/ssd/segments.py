"""One segment of the chunked scan, a few chunks: matrix products inside chunks, states between.

Letters: b batch, K chunks of a segment, Q tokens of a chunk, G groups, R heads of a group,
N state, P width of a head.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.padding import zeros_around

SEGMENT = 512  # tokens that are worked on at a time on a CPU
_SAFE = 80.  # exp of more overflows float32
_BLOCK = 64  # chunks whose states come from one product on a GPU


def _on_cpu(tensor: Tensor) -> bool:
    """Whether caches count, and launches do not."""
    return tensor.device.type == 'cpu'


class _Segment(NamedTuple):
    """Inputs of one segment, cut into chunks."""
    x: Tensor  # b K Q G R P
    dt: Tensor  # b K Q G R
    B: Tensor  # b K G Q N
    C: Tensor  # b K G Q N
    log: Tensor  # b K Q G R, log decay from the start of the chunk, this token included

    def decays(self) -> Tensor:
        """exp(log_i − log_j) for j ≤ i, (b, K, G, R, Q, Q); anything finite above the diagonal.

        No difference above zero is exponentiated unless it cannot overflow.
        """
        by_head = self.log.permute(0, 1, 3, 4, 2)
        out = by_head[..., :, None] - by_head[..., None, :]
        if not _on_cpu(out) or float(self.log[:, :, -1].min()) < -_SAFE:
            out.clamp_(max=0)
        return out.exp_()

    def similarities(self) -> Tensor:
        """C_i · B_j for j ≤ i, zero above the diagonal, (b, K, G, 1, Q, Q)."""
        products = (self.C @ self.B.transpose(-1, -2)).to(self.log.dtype)
        return products.tril_()[:, :, :, None]

    def by_head(self, values: Tensor, scale: Tensor | None = None) -> Tensor:
        """(b, K, Q, G, R, P), times (b, K, Q, G, R), as contiguous (b, K, G, R, Q, P)."""
        moved = values.permute(0, 1, 3, 4, 2, 5)
        if scale is None:
            return moved.contiguous()
        out = values.new_empty(moved.shape)
        return torch.mul(moved, scale.permute(0, 1, 3, 4, 2)[..., None].to(values.dtype), out=out)

    def by_group(self, values: Tensor, scale: Tensor) -> Tensor:
        """(b, K, Q, G, R, P), times (b, K, Q, G, R), as (b, K, G, Q, R·P)."""
        scaled = values * scale[..., None].to(values.dtype)
        return scaled.transpose(2, 3).flatten(4)

    def tokens(self, values: Tensor) -> Tensor:
        """(b, K, G, Q, R·P) back to (b, K, Q, G, R, P)."""
        return values.unflatten(-1, self.x.shape[-2:]).transpose(2, 3)


def cut(x, dt, A, B, C, chunk: int) -> _Segment:
    """Cut (b, T, …) inputs into chunks; T is a multiple of the chunk."""
    batch, length, heads, width = x.shape
    groups = B.shape[2]
    acc = torch.float64 if x.dtype == torch.float64 else torch.float32
    num = length // chunk
    dt = dt.to(acc).reshape(batch, num, chunk, groups, heads // groups)
    return _Segment(
        x.reshape(batch, num, chunk, groups, heads // groups, width), dt,
        B.reshape(batch, num, chunk, groups, -1).transpose(2, 3),
        C.reshape(batch, num, chunk, groups, -1).transpose(2, 3),
        torch.cumsum(dt * A.to(acc).view(groups, -1), dim=2))


def even_chunk(length: int, longest: int) -> int:
    """Tokens in a chunk when ``length`` of them are cut into as few chunks as may be.

    66 tokens in chunks of at most 64 are two of 33, where one of 64 and one of padding would take
    twice the work. For CPUs: a GPU's matrix units want 64.
    """
    return -(-length // -(-length // longest))


def pad(tensors, pad: int) -> list[Tensor]:
    """Append ``pad`` tokens of zeros; steps of size zero change nothing."""
    return [zeros_around(t, *[0, 0] * (t.ndim - 2), 0, pad) for t in tensors]


def segments(x: Tensor, chunk: int) -> Iterator[tuple[int, int]]:
    """First and last token of each segment of ``x``, which is one where it is not on a CPU."""
    length = x.shape[1]
    step = max(SEGMENT // chunk, 1) * chunk if _on_cpu(x) else length
    for start in range(0, length, step):
        yield start, min(start + step, length)


def _carry(added: Tensor, log: Tensor, start: Tensor, backwards: bool = False
           ) -> tuple[Tensor, Tensor]:
    """States before each chunk, and after the last; chunk by chunk on a CPU.

    Args:
        added: What each chunk adds by its end, (b, K, G, N, R, P).
        log: Log decay over each chunk, (b, K, G, R).
        start: State before the first, (b, G, N, R, P).
        backwards: The last chunk comes first.
    """
    if not _on_cpu(added):
        if not backwards:
            return _carry_blocks(added, log, start)
        starts, after = _carry_blocks(added.flip(1), log.flip(1), start)
        return starts.flip(1), after
    starts, decay = torch.empty_like(added), torch.exp(log)
    steps = range(added.shape[1])
    for k in reversed(steps) if backwards else steps:
        starts[:, k] = start
        start = torch.addcmul(added[:, k], start, decay[:, k, :, None, :, None])
    return starts, start


def _carry_blocks(added: Tensor, log: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The same with one product for many chunks, for devices where each launch costs time."""
    starts = torch.empty_like(added)
    for a in range(0, added.shape[1], _BLOCK):
        steps = F.pad(log[:, a:a + _BLOCK].movedim(1, -1), (1, 0))  # b G R 1+K
        num = steps.shape[-1]
        lower = torch.ones(num, num, dtype=torch.bool, device=log.device).tril_()
        # sums of the steps m < i ≤ k, each from its own terms: differences of long sums are inexact
        sums = (steps[..., None] * lower.tril(-1)).cumsum(-2)
        decays = torch.exp(sums.masked_fill_(~lower, float('-inf')))  # b G R k m
        values = torch.cat([start[:, None], added[:, a:a + _BLOCK]], dim=1)  # b m G N R P
        states = (decays @ values.permute(0, 2, 4, 1, 3, 5).flatten(4)).unflatten(
            -1, (values.shape[3], values.shape[5])).permute(0, 3, 1, 4, 2, 5)
        starts[:, a:a + _BLOCK], start = states[:, :-1], states[:, -1]
    return starts, start


def forward_segment(seg: _Segment, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One segment from the state before it.

    Returns:
        Outputs (b, K, Q, G, R, P), states before each chunk (b, K, G, N, R, P), state after.
    """
    kernel = seg.decays().mul_(seg.similarities())
    inner = kernel.to(seg.x.dtype) @ seg.by_head(seg.x, seg.dt)  # b K G R Q P
    end = seg.log[:, :, -1:]
    weighted = seg.by_group(seg.x, torch.exp(end - seg.log) * seg.dt)
    added = (seg.B.transpose(-1, -2) @ weighted).to(seg.log.dtype)
    starts, after = _carry(added.unflatten(-1, seg.x.shape[-2:]), end[:, :, 0], start)
    outer = seg.tokens(seg.C @ starts.flatten(4).to(seg.x.dtype))
    y = torch.addcmul(inner.permute(0, 1, 4, 2, 3, 5), outer,
                      torch.exp(seg.log)[..., None].to(seg.x.dtype))
    return y, starts, after


def scan_segment(x, dt, A, B, C, state: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scan a stretch of tokens from a given state, for callers that stream.

    Args:
        x: (b, T, H, P), any T; other inputs as :func:`mmvitlin.ops.ssd`.
        state: State before the first token, (b, G, N, R, P).
        chunk: Tokens in a chunk.

    Returns:
        (b, T, H, P), the states before each chunk, (b, K, G, N, R, P), and the state after the
        last token.
    """
    length = x.shape[1]
    chunk = min(chunk, length)
    padded = pad((x, dt, B, C), -length % chunk)
    y, starts, state = forward_segment(cut(padded[0], padded[1], A, *padded[2:], chunk), state)
    return y.reshape(*padded[0].shape)[:, :length], starts, state


def _backward_segment(seg: _Segment, dy: Tensor, starts: Tensor, after: Tensor):
    """Gradients of one segment.

    Args:
        dy: Gradient of the outputs, (b, K, Q, G, R, P).
        starts: States before each chunk, (b, K, G, N, R, P).
        after: Gradient of the state after the segment, (b, G, N, R, P).

    Returns:
        Gradients of x, dt (through the values only), the log decays' increments, B and C,
        and of the state before the segment.
    """
    acc, dtype = seg.log.dtype, seg.x.dtype
    end = seg.log[:, :, -1:]
    from_start, to_end = torch.exp(seg.log), torch.exp(end - seg.log)

    # the state's gradient, from the last chunk to the first
    dy_start = seg.by_group(dy, from_start)  # b K G Q (R P)
    received = (seg.C.transpose(-1, -2) @ dy_start).to(acc).unflatten(-1, seg.x.shape[-2:])
    afters, after = _carry(received, end[:, :, 0], after, backwards=True)
    flat_afters, flat_starts = afters.flatten(4).to(dtype), starts.flatten(4).to(dtype)

    # inside chunks
    decays, similar = seg.decays(), seg.similarities()
    dy_head, values = seg.by_head(dy), seg.by_head(seg.x, seg.dt)
    kernel = decays * similar
    d_kernel = (dy_head @ values.transpose(-1, -2)).to(acc)
    d_values = (kernel.to(dtype).transpose(-1, -2) @ dy_head).permute(0, 1, 4, 2, 3, 5).to(acc)
    pairs = kernel.mul_(d_kernel).tril_(-1)
    d_log = (pairs.sum(-1) - pairs.sum(-2)).permute(0, 1, 4, 2, 3)
    d_similar = d_kernel.mul_(decays).sum(3).tril_().to(dtype)

    # through the states
    to_state = seg.tokens(seg.B @ flat_afters).to(acc) * to_end[..., None]
    d_values += to_state
    given = (to_state * seg.x).sum(-1) * seg.dt
    taken = (seg.tokens(seg.C @ flat_starts).to(acc) * from_start[..., None] * dy).sum(-1)
    d_log += taken - given
    d_log[:, :, -1] += given.sum(2) + (afters * starts).sum((3, 5)) * torch.exp(end[:, :, 0])

    weighted = seg.by_group(seg.x, to_end * seg.dt)
    d_C = d_similar @ seg.B + dy_start @ flat_starts.transpose(-1, -2)
    d_B = d_similar.transpose(-1, -2) @ seg.C + weighted @ flat_afters.transpose(-1, -2)
    d_step = d_log.flip(2).cumsum(2).flip(2)
    return (d_values * seg.dt[..., None], (d_values * seg.x).sum(-1), d_step,
            d_B.transpose(2, 3), d_C.transpose(2, 3), after)


def scan_segment_backward(dy, x, dt, A, B, C, starts: Tensor, after: Tensor, chunk: int):
    """Gradients of :func:`scan_segment`.

    Args:
        dy: Gradient of the outputs, (b, T, H, P).
        x: As there; so dt, A, B, C and chunk.
        starts: States before each chunk, as it returned them.
        after: Gradient of the state after the last token.

    Returns:
        Gradients of x, dt, A, B and C, and of the state before the first token.
    """
    length = x.shape[1]
    chunk = min(chunk, length)
    dy, px, pdt, pB, pC = pad((dy, x, dt, B, C), -length % chunk)
    seg = cut(px, pdt, A, pB, pC, chunk)
    d_x, d_dt, d_step, d_B, d_C, before = _backward_segment(
        seg, dy.reshape(seg.x.shape), starts, after)
    d_A = (d_step * seg.dt).sum((0, 1, 2)).flatten()
    d_dt = d_dt + d_step * A.to(d_dt.dtype).view(d_step.shape[-2:])
    grads = (g.reshape(p.shape)[:, :length]
             for g, p in zip((d_x, d_dt, d_B, d_C), (px, pdt, pB, pC), strict=True))
    d_x, d_dt, d_B, d_C = grads
    return d_x, d_dt, d_A, d_B, d_C, before
