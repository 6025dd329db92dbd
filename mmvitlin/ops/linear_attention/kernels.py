"""Triton kernels of linear attention with its feature map. Import only where Triton is installed.

Keys and values are read once for the sums, queries once for the outputs; sums are float32, and
mapped features are never written to memory. Letters as in :func:`mmvitlin.ops.linear_attention`;
``S = Σ φ(k)ᵀ v / L`` (D, P), ``z = Σ φ(k) / L`` (D,): means, whose size float16 can hold. Of a
paired map there are two of each, one after the other: (2 D, P), (2 D,).
"""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmvitlin.ops.launch import Launch
from mmvitlin.ops.linear_attention.feature_maps import sides

_SEGMENTS = 64  # at most
_PROGRAMS = 512  # four on each core of a large GPU; more of them write more sums


@triton.jit
def load_tokens(ptr, tokens, channels, length, width, stride_l):
    """(tokens, channels), zero outside."""
    return tl.load(ptr + tokens[:, None] * stride_l + channels[None, :],
                   mask=(tokens < length)[:, None] & (channels < width)[None, :], other=0.)


@triton.jit
def store_tokens(ptr, values, tokens, channels, length, width, stride_l):
    """Write (tokens, channels) of the sequence."""
    tl.store(ptr + tokens[:, None] * stride_l + channels[None, :], values.to(ptr.dtype.element_ty),
             mask=(tokens < length)[:, None] & (channels < width)[None, :])


@triton.jit
def feature(x, tokens, channels, length, width, MAP: tl.constexpr):
    """φ(x) in float32, zero outside the sequence and behind the last channel.

    A paired map is ``[φ(x), φ(−x)]``; this is one side of it.
    """
    y = x.to(tl.float32)
    inside = (tokens < length)[:, None] & (channels < width)[None, :]
    if MAP == 'elu':
        y = tl.where(inside, tl.where(y > 0, y + 1, tl.exp(tl.minimum(y, 0.))), 0.)
    elif MAP == 'relu':
        y = tl.maximum(y, 0.)
    elif MAP == 'paired_softmax':
        y = tl.where((channels < width)[None, :], y, float('-inf'))
        y = tl.exp(y - tl.max(y, 1)[:, None])
        y = tl.where(inside, y / tl.sum(y, 1)[:, None], 0.)
    return y


@triton.jit
def through_feature(x, mapped, dy, MAP: tl.constexpr):
    """Gradient of x in float32, from those of one side of φ(x)."""
    if MAP == 'paired_softmax':
        return mapped * (dy - tl.sum(mapped * dy, 1)[:, None])
    y = x.to(tl.float32)
    if MAP == 'elu':
        return dy * tl.exp(tl.minimum(y, 0.))
    if MAP == 'relu':
        return tl.where(y > 0, dy, 0.)
    return dy


@triton.jit
def load_sums(S_ptr, z_ptr, place, d, p, D, P):
    """S and z of one head, or of one side of it."""
    S = tl.load(S_ptr + place * D * P + d[:, None] * P + p[None, :],
                mask=(d < D)[:, None] & (p < P)[None, :], other=0.)
    return S, tl.load(z_ptr + place * D + d, mask=d < D, other=0.)


@triton.jit
def store_sums(S_ptr, z_ptr, S, z, place, d, p, D, P):
    """Write S and z of one head and segment, or of one side of them."""
    tl.store(S_ptr + place * D * P + d[:, None] * P + p[None, :], S,
             mask=(d < D)[:, None] & (p < P)[None, :])
    tl.store(z_ptr + place * D + d, z, mask=d < D)


@triton.jit
def key_sums(k_ptr, v_ptr, scales_ptr, S_ptr, z_ptr, length, heads, D, P, blocks, k_b, k_h, k_l,
             v_b, v_h, v_l, SCALED: tl.constexpr, MAP: tl.constexpr, SIDES: tl.constexpr,
             T: tl.constexpr, BD: tl.constexpr, BP: tl.constexpr, precision: tl.constexpr):
    """What one segment adds to S and z; scaled, to ``Σ a φ(k)ᵀ v`` and ``Σ b φ(k)``."""
    segment, head = tl.program_id(0), tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    k_ptr += batch * k_b + head * k_h
    v_ptr += batch * v_b + head * v_h
    d, p = tl.arange(0, BD), tl.arange(0, BP)
    S, z = tl.zeros((BD, BP), tl.float32), tl.zeros((BD, ), tl.float32)
    S_2, z_2 = tl.zeros((BD, BP), tl.float32), tl.zeros((BD, ), tl.float32)
    for block in range(blocks):
        tokens = (segment * blocks + block) * T + tl.arange(0, T)
        k = load_tokens(k_ptr, tokens, d, length, D, k_l)
        v = load_tokens(v_ptr, tokens, p, length, P, v_l)
        if SCALED:
            at = scales_ptr + ((batch * heads + head) * length + tokens) * 2
            a = tl.load(at, mask=tokens < length, other=0.)
            b = tl.load(at + 1, mask=tokens < length, other=0.)
            v = (v * a[:, None]).to(v.dtype)
        mapped = feature(k, tokens, d, length, D, MAP)
        S = tl.dot(tl.trans(mapped.to(v.dtype)), v, S, input_precision=precision)
        z += tl.sum(mapped * b[:, None] if SCALED else mapped, 0)
        if SIDES == 2:
            mapped = feature(-k.to(tl.float32), tokens, d, length, D, MAP)
            S_2 = tl.dot(tl.trans(mapped.to(v.dtype)), v, S_2, input_precision=precision)
            z_2 += tl.sum(mapped * b[:, None] if SCALED else mapped, 0)
    place = ((batch * heads + head) * tl.num_programs(0) + segment) * SIDES
    divisor = 1 if SCALED else length
    store_sums(S_ptr, z_ptr, S / divisor, z / divisor, place, d, p, D, P)
    if SIDES == 2:
        store_sums(S_ptr, z_ptr, S_2 / divisor, z_2 / divisor, place + 1, d, p, D, P)


@triton.jit
def answers(q_ptr, S_ptr, z_ptr, y_ptr, length, heads, D, P, blocks, eps, q_b, q_h, q_l,
            NORMALIZE: tl.constexpr, MAP: tl.constexpr, SIDES: tl.constexpr, T: tl.constexpr,
            BD: tl.constexpr, BP: tl.constexpr, precision: tl.constexpr):
    """Outputs of the queries of one segment."""
    segment, head = tl.program_id(0), tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    q_ptr += batch * q_b + head * q_h
    y_ptr += (batch * length * heads + head) * P
    d, p, place = tl.arange(0, BD), tl.arange(0, BP), (batch * heads + head) * SIDES
    S, z = load_sums(S_ptr, z_ptr, place, d, p, D, P)
    if SIDES == 2:
        S_2, z_2 = load_sums(S_ptr, z_ptr, place + 1, d, p, D, P)
    for block in range(blocks):
        tokens = (segment * blocks + block) * T + tl.arange(0, T)
        q = load_tokens(q_ptr, tokens, d, length, D, q_l)
        mapped = feature(q, tokens, d, length, D, MAP)
        y = tl.dot(mapped.to(q.dtype), S.to(q.dtype), input_precision=precision)
        total = tl.sum(mapped * z[None, :], 1) + eps
        if SIDES == 2:
            mapped = feature(-q.to(tl.float32), tokens, d, length, D, MAP)
            y = tl.dot(mapped.to(q.dtype), S_2.to(q.dtype), y, input_precision=precision)
            total += tl.sum(mapped * z_2[None, :], 1)
        if NORMALIZE:
            y /= total[:, None]
        store_tokens(y_ptr, y, tokens, p, length, P, heads * P)


@triton.jit
def query_gradients(q_ptr, dy_ptr, S_ptr, z_ptr, dq_ptr, scales_ptr, length, heads, D, P, blocks,
                    eps, q_b, q_h, q_l, dy_b, dy_h, dy_l, NORMALIZE: tl.constexpr,
                    MAP: tl.constexpr, SIDES: tl.constexpr, T: tl.constexpr, BD: tl.constexpr,
                    BP: tl.constexpr, precision: tl.constexpr):
    """Gradient of the queries of one segment, and scales for that of S and z in key_sums."""
    segment, head = tl.program_id(0), tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    q_ptr += batch * q_b + head * q_h
    dy_ptr += batch * dy_b + head * dy_h
    dq_ptr += (batch * length * heads + head) * D
    d, p, place = tl.arange(0, BD), tl.arange(0, BP), (batch * heads + head) * SIDES
    for block in range(blocks):
        tokens = (segment * blocks + block) * T + tl.arange(0, T)
        q = load_tokens(q_ptr, tokens, d, length, D, q_l)
        dy = load_tokens(dy_ptr, tokens, p, length, P, dy_l)
        S, z = load_sums(S_ptr, z_ptr, place, d, p, D, P)
        mapped = feature(q, tokens, d, length, D, MAP)
        through = tl.dot(dy, tl.trans(S.to(dy.dtype)), input_precision=precision)
        total = tl.sum(mapped * z[None, :], 1) + eps
        weighted = tl.sum(mapped * through, 1)
        if SIDES == 2:
            S, z_2 = load_sums(S_ptr, z_ptr, place + 1, d, p, D, P)
            mapped_2 = feature(-q.to(tl.float32), tokens, d, length, D, MAP)
            through_2 = tl.dot(dy, tl.trans(S.to(dy.dtype)), input_precision=precision)
            total += tl.sum(mapped_2 * z_2[None, :], 1)
            weighted += tl.sum(mapped_2 * through_2, 1)
        a, b = 1 / total, -weighted / (total * total)
        if not NORMALIZE:
            a, b = tl.zeros_like(a) + 1, tl.zeros_like(b)
        dq = through_feature(q, mapped, through * a[:, None] + b[:, None] * z[None, :], MAP)
        if SIDES == 2:
            dq -= through_feature(q, mapped_2, through_2 * a[:, None] + b[:, None] * z_2[None, :],
                                  MAP)
        store_tokens(dq_ptr, dq, tokens, d, length, D, heads * D)
        at = scales_ptr + ((batch * heads + head) * length + tokens) * 2
        tl.store(at, a, mask=tokens < length)
        tl.store(at + 1, b, mask=tokens < length)


@triton.jit
def key_gradients(k_ptr, v_ptr, dS_ptr, dz_ptr, size_ptr, dk_ptr, dv_ptr, length, heads, D, P,
                  blocks, k_b, k_h, k_l, v_b, v_h, v_l, SIZED: tl.constexpr, MAP: tl.constexpr,
                  SIDES: tl.constexpr, T: tl.constexpr, BD: tl.constexpr, BP: tl.constexpr,
                  precision: tl.constexpr):
    """Gradients of the keys and values of one segment, from those of S and z.

    With the size of each head's largest gradient of S, products are taken of shares of it.
    """
    segment, head = tl.program_id(0), tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)  # offsets of large batches pass 2³¹
    k_ptr += batch * k_b + head * k_h
    v_ptr += batch * v_b + head * v_h
    dk_ptr += (batch * length * heads + head) * D
    dv_ptr += (batch * length * heads + head) * P
    d, p, place = tl.arange(0, BD), tl.arange(0, BP), (batch * heads + head) * SIDES
    size = tl.load(size_ptr + batch * heads + head) if SIZED else 1.
    scale = size / length
    for block in range(blocks):
        tokens = (segment * blocks + block) * T + tl.arange(0, T)
        dS, dz = load_sums(dS_ptr, dz_ptr, place, d, p, D, P)
        k = load_tokens(k_ptr, tokens, d, length, D, k_l)
        v = load_tokens(v_ptr, tokens, p, length, P, v_l)
        mapped = feature(k, tokens, d, length, D, MAP)
        dS = (dS / size).to(v.dtype)
        dv = tl.dot(mapped.to(v.dtype), dS, input_precision=precision)
        through = tl.dot(v, tl.trans(dS), input_precision=precision) + (dz / size)[None, :]
        dk = through_feature(k, mapped, through, MAP)
        if SIDES == 2:
            dS, dz = load_sums(dS_ptr, dz_ptr, place + 1, d, p, D, P)
            mapped = feature(-k.to(tl.float32), tokens, d, length, D, MAP)
            dS = (dS / size).to(v.dtype)
            dv = tl.dot(mapped.to(v.dtype), dS, dv, input_precision=precision)
            through = tl.dot(v, tl.trans(dS), input_precision=precision) + (dz / size)[None, :]
            dk -= through_feature(k, mapped, through, MAP)
        store_tokens(dk_ptr, dk * scale, tokens, d, length, D, heads * D)
        store_tokens(dv_ptr, dv * scale, tokens, p, length, P, heads * P)


def _block(q: Tensor, feature_map: str, kind: str) -> tuple[int, int]:
    """Tokens and warps of a program, 'forward', 'scaled' or 'backward': the most that spills no
    registers."""
    half, paired = q.dtype != torch.float32, sides(feature_map) == 2
    if kind == 'backward':
        return (32 if half else 16), (8 if paired or not half else 4)
    if paired:
        return (32, 4) if half else (16, 8)
    return (64 if half else 16 if kind == 'scaled' else 32), 4


def _cut(q: Tensor, feature_map: str, kind: str = 'forward') -> tuple[tuple[int, int, int], int]:
    """Grid, and blocks of a segment."""
    batch, heads, length, _ = q.shape
    all_blocks = triton.cdiv(length, _block(q, feature_map, kind)[0])
    programs = _PROGRAMS // sides(feature_map)  # as many sums as of a single map
    segments = max(1, min(all_blocks, _SEGMENTS, triton.cdiv(programs, batch * heads)))
    blocks = triton.cdiv(all_blocks, segments)
    return (triton.cdiv(all_blocks, blocks), heads, batch), blocks


def _options(q: Tensor, v: Tensor, feature_map: str, kind: str = 'forward') -> dict:
    tokens, warps = _block(q, feature_map, kind)
    return dict(MAP=feature_map, SIDES=sides(feature_map), T=tokens,
                BD=max(16, triton.next_power_of_2(q.shape[3])),
                BP=max(16, triton.next_power_of_2(v.shape[3])), num_warps=warps, num_stages=1,
                precision='tf32x3' if q.dtype == torch.float32 else 'tf32')


def _rows(like: Tensor, width: int) -> Tensor:
    """Room for (B, H, L, width) with the tokens outside the heads, as projections want it."""
    batch, heads, length, _ = like.shape
    return like.new_empty(batch, length, heads, width).transpose(1, 2)


def _room_for_sums(q: Tensor, v: Tensor, segments: int, feature_map: str
                   ) -> tuple[Tensor, Tensor]:
    shape = (*q.shape[:2], segments, sides(feature_map) * q.shape[3])
    return (q.new_empty(*shape, v.shape[3], dtype=torch.float32),
            q.new_empty(*shape, dtype=torch.float32))


def sum_keys(k: Tensor, v: Tensor, feature_map: str, scales: Tensor | None = None
             ) -> tuple[Launch, Tensor, Tensor]:
    """Launch that fills S (B, H, segments, D, P) and z (B, H, segments, D); 2 D if paired.

    With scales (B, H, L, 2) of each token: of its term in S, and of that in z.
    """
    (_, heads, length, width), out = k.shape, v.shape[3]
    kind = 'forward' if scales is None else 'scaled'
    grid, blocks = _cut(k, feature_map, kind)
    S, z = _room_for_sums(k, v, grid[0], feature_map)
    return Launch(key_sums, grid, (k, v, z if scales is None else scales, S, z, length, heads,
                                   width, out, blocks, *k.stride()[:3], *v.stride()[:3]),
                  dict(_options(k, v, feature_map, kind), SCALED=scales is not None)), S, z


def answer(q: Tensor, S: Tensor, z: Tensor, eps: float, normalize: bool, feature_map: str
           ) -> tuple[Launch, Tensor]:
    """Launch that fills (B, H, L, P) from S (B, H, D, P) and z (B, H, D)."""
    (_, heads, length, width), out = q.shape, S.shape[3]
    grid, blocks = _cut(q, feature_map)
    y = _rows(q, out)
    return Launch(answers, grid, (q, S, z, y, length, heads, width, out, blocks, eps,
                                  *q.stride()[:3]),
                  dict(_options(q, y, feature_map), NORMALIZE=normalize)), y


def differentiate_queries(dy: Tensor, q: Tensor, S: Tensor, z: Tensor, eps: float, normalize: bool,
                          feature_map: str) -> tuple[Launch, Tensor, Tensor]:
    """Launch that fills the gradient of q, and the scales of dy in :func:`sum_keys`.

    The sums of φ(q)ᵀ dy with these are the gradients of S and z.
    """
    (batch, heads, length, width), out = q.shape, S.shape[3]
    grid, blocks = _cut(q, feature_map, 'backward')
    dq, scales = _rows(q, width), q.new_empty(batch, heads, length, 2, dtype=torch.float32)
    return Launch(query_gradients, grid, (q, dy, S, z, dq, scales, length, heads, width, out,
                                          blocks, eps, *q.stride()[:3], *dy.stride()[:3]),
                  dict(_options(q, dy, feature_map, 'backward'), NORMALIZE=normalize, num_warps=8)
                  ), dq, scales


def differentiate_keys(k: Tensor, v: Tensor, dS: Tensor, dz: Tensor, feature_map: str
                       ) -> tuple[Launch, Tensor, Tensor]:
    """Launch that fills the gradients of k and v from those of S (B, H, D, P) and z (B, H, D)."""
    (_, heads, length, width), out = k.shape, v.shape[3]
    grid, blocks = _cut(k, feature_map, 'backward')
    dk, dv = _rows(k, width), _rows(v, out)
    sized = k.dtype == torch.float16  # in which small gradients would be lost
    size = dS.abs().amax((-2, -1)).clamp_min_(1e-30) if sized else dz
    return Launch(key_gradients, grid, (k, v, dS, dz, size, dk, dv, length, heads, width, out,
                                        blocks, *k.stride()[:3], *v.stride()[:3]),
                  dict(_options(k, v, feature_map, 'backward'), SIZED=sized)), dk, dv
