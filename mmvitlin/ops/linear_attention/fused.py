"""Linear attention by our Triton kernels, as registered operators with gradients."""
from __future__ import annotations

import torch
from torch import Tensor

from mmvitlin.ops.launch import triton_problem
from mmvitlin.ops.linear_attention.feature_maps import EPS, sides

WIDEST = 64  # heads; wider ones spill registers


def _over_segments(parts: Tensor) -> Tensor:
    """Sums (B, H, …) of all segments, from (B, H, segments, …)."""
    return parts[:, :, 0] if parts.shape[2] == 1 else parts.sum(2)


@torch.library.custom_op('mmvitlin::linear_attention', mutates_args=())
def _attend(q: Tensor, k: Tensor, v: Tensor, normalize: bool, feature_map: str
            ) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, and the means that they are computed from: S (B, H, D, P), z (B, H, D).

    Of a paired map 2 D.
    """
    from mmvitlin.ops.linear_attention.kernels import answer, sum_keys
    with torch.cuda.device_of(q):
        first, parts, key_parts = sum_keys(k, v, feature_map)
        first.run()
        S, z = _over_segments(parts), _over_segments(key_parts)
        second, y = answer(q, S, z, EPS / k.shape[2], normalize, feature_map)
        second.run()
    return y, S, z


@_attend.register_fake
def _(q, k, v, normalize, feature_map):
    batch, heads, length, width = q.shape
    out, features = v.shape[3], width * sides(feature_map)
    return (q.new_empty(batch, length, heads, out).transpose(1, 2),
            q.new_empty(batch, heads, features, out, dtype=torch.float32),
            q.new_empty(batch, heads, features, dtype=torch.float32))


@torch.library.custom_op('mmvitlin::linear_attention_backward', mutates_args=())
def _attend_backward(dy: Tensor, q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor,
                     normalize: bool, feature_map: str) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v."""
    from mmvitlin.ops.linear_attention.kernels import (
        differentiate_keys,
        differentiate_queries,
        sum_keys,
    )
    with torch.cuda.device_of(q):
        first, dq, scales = differentiate_queries(dy, q, S, z, EPS / k.shape[2], normalize,
                                                  feature_map)
        first.run()
        second, parts, key_parts = sum_keys(q, dy, feature_map, scales)
        second.run()
        third, dk, dv = differentiate_keys(k, v, _over_segments(parts), _over_segments(key_parts),
                                           feature_map)
        third.run()
    return dq, dk, dv


@_attend_backward.register_fake
def _(dy, q, k, v, S, z, normalize, feature_map):
    return tuple(t.new_empty(t.shape[0], t.shape[2], t.shape[1], t.shape[3]).transpose(1, 2)
                 for t in (q, k, v))


def _setup(ctx, inputs, output):
    *tensors, ctx.normalize, ctx.feature_map = inputs
    ctx.save_for_backward(*tensors, *output[1:])


def _differentiate(ctx, dy: Tensor, *_):
    dy = dy if dy.stride(-1) == 1 else dy.contiguous()
    return (*torch.ops.mmvitlin.linear_attention_backward(
        dy, *ctx.saved_tensors, ctx.normalize, ctx.feature_map), None, None)


_attend.register_autograd(_differentiate, setup_context=_setup)


def fused_problem(q: Tensor, v: Tensor) -> str | None:
    """Why our Triton kernels cannot take queries and values of such shapes, or None."""
    if max(q.shape[3], v.shape[3]) > WIDEST:
        return f'the kernels take heads up to {WIDEST} wide, not {q.shape[3]} and {v.shape[3]}'
    return triton_problem(q)


def attend_fused(q: Tensor, k: Tensor, v: Tensor, normalize: bool, feature_map: str | None
                 ) -> Tensor:
    """:func:`mmvitlin.ops.linear_attention` in two launches, each input read once."""
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous()
               for t in (q.to(v.dtype), k.to(v.dtype), v))
    return torch.ops.mmvitlin.linear_attention(q, k, v, normalize, feature_map or 'none')[0]
