"""FLOPs of our operators, registered with torch's ``FlopCounterMode``.

Multiplications and additions of matrix products, two of each number that is summed up, of the
method and not of one kernel: backends count alike. Shapes by letters: B batch, L tokens, H heads,
P head width, G groups, N state, Q chunk, D width of queries.
"""
from __future__ import annotations

from math import prod

import torch
from torch.utils.flop_counter import register_flop_formula

_OPS = torch.ops.mmvitlin


def _ssd(x_shape, B_shape, chunk: int, inside: int, through: int) -> int:
    """``inside`` products a head within chunks, ``through`` with states; ``C Bᵀ`` a group."""
    batch, length, heads, width = x_shape
    groups, state = B_shape[2:]
    shared = (2 * inside - 1) * groups * chunk * state
    return 2 * batch * length * (shared + heads * width * (inside * chunk + through * state))


@register_flop_formula(_OPS.ssd_chunked)
def _ssd_chunked(x_shape, dt_shape, A_shape, B_shape, C_shape, chunk, *_, **__) -> int:
    """``C Bᵀ`` and its product with x inside chunks, states in, states out."""
    return _ssd(x_shape, B_shape, chunk, 1, 2)


@register_flop_formula(_OPS.ssd_chunked_backward)
def _ssd_chunked_backward(dy_shape, x_shape, dt_shape, A_shape, B_shape, C_shape, states_shape,
                          chunk, *_, **__) -> int:
    return _ssd(x_shape, B_shape, chunk, 2, 5)


@register_flop_formula(_OPS.ssd_fused)
def _ssd_fused(x_shape, dt_shape, A_shape, B_shape, C_shape, D_shape, chunk, *_, **__) -> int:
    return _ssd(x_shape, B_shape, chunk, 1, 2)


@register_flop_formula(_OPS.ssd_fused_backward)
def _ssd_fused_backward(dy_shape, x_shape, dt_shape, A_shape, B_shape, C_shape, D_shape,
                        starts_shape, chunk, *_, **__) -> int:
    return _ssd(x_shape, B_shape, chunk, 2, 5)


@register_flop_formula(_OPS.selective_scan)
def _selective_scan(x_shape, dt_shape, A_shape, *_, **__) -> int:
    """Decay, input and output of every number that a channel remembers."""
    return 6 * prod(x_shape) * A_shape[1]


@register_flop_formula(_OPS.selective_scan_backward)
def _selective_scan_backward(dy_shape, x_shape, dt_shape, A_shape, *_, **__) -> int:
    """States again (4), their gradients (3), and sums into those of x, dt, A, B and C (2 each)
    with one product (2) before that of dt and A."""
    return 19 * prod(x_shape) * A_shape[1]


@register_flop_formula(_OPS.linear_attention)
def _linear_attention(q_shape, k_shape, v_shape, normalize, *_, **__) -> int:
    """``kᵀ v`` and its product with q, and the normaliser."""
    return prod(q_shape) * (4 * v_shape[-1] + 2 * normalize)


@register_flop_formula(_OPS.linear_attention_backward)
def _linear_attention_backward(dy_shape, q_shape, k_shape, v_shape, S_shape, z_shape, normalize,
                               *_, **__) -> int:
    return prod(q_shape) * (8 * v_shape[-1] + 6 * normalize)


@register_flop_formula(_OPS.causal_conv)
def _causal_conv(x_shape, weight_shape, *_, **__) -> int:
    return 2 * prod(x_shape) * weight_shape[-1]


@register_flop_formula(_OPS.causal_conv_backward)
def _causal_conv_backward(dy_shape, x_shape, weight_shape, *_, **__) -> int:
    """Sums again for the slope of SiLU, and those into the gradients of x and the weight."""
    return 6 * prod(x_shape) * weight_shape[-1]


@register_flop_formula([_OPS.silu_product, _OPS.silu_product_backward, _OPS.gated_rms_norm,
                        _OPS.gated_rms_norm_backward])
def _gates(*_, **__) -> int:
    """Nothing is summed up but a row's square, as in torch's norms, which do not count either."""
    return 0
