"""Non-causal linear attention and its feature maps."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.precision import no_autocast

_EPS = 1e-6


def elu_feature(x: Tensor) -> Tensor:
    """``ELU(x) + 1``, positive. Source: Linear Transformers (arXiv 2006.16236)."""
    return F.elu(x) + 1


def relu_feature(x: Tensor) -> Tensor:
    """``ReLU(x)``; a query of zeros has a zero normaliser, which is kept from dividing."""
    return F.relu(x)


def focused_feature(x: Tensor, power: float = 3.) -> Tensor:
    """``f(ReLU(x))`` with ``f(x) = ‖x‖ / ‖x^p‖ · x^p``: the same length, a sharper direction.

    Source: FLatten Transformer (arXiv 2308.00442), equation 4.
    """
    x = F.relu(x.float()) + _EPS
    sharp = x**power
    return sharp * (x.norm(dim=-1, keepdim=True) / sharp.norm(dim=-1, keepdim=True))


FEATURE_MAPS = {'elu': elu_feature, 'relu': relu_feature, 'focused': focused_feature}


def linear_attention(q: Tensor, k: Tensor, v: Tensor, normalize: bool = True) -> Tensor:
    """Attention of every token to every token in O(L).

    ``O_i = φ(q_i) Σ_j φ(k_j)ᵀ v_j / (φ(q_i) · Σ_j φ(k_j))``, the sums and the division in
    float32 whatever the input type. Without the normaliser the sum is divided by L, so that its
    size does not depend on the image's.

    Args:
        q: Mapped queries, (B, H, L, D).
        k: Mapped keys, (B, H, L, D).
        v: Values, (B, H, L, P).
        normalize: Divide by the sum of weights.

    Returns:
        (B, H, L, P), in the type of ``v``.

    Source: Linear Transformers (arXiv 2006.16236), equation 5.
    """
    acc = torch.float64 if v.dtype == torch.float64 else torch.float32
    with no_autocast(v):
        q, keys = q.to(acc), k.to(acc)
        context = keys.transpose(-1, -2) @ v.to(acc)
        if not normalize:
            return (q @ (context / k.shape[-2])).to(v.dtype)
        total = q @ keys.sum(-2)[..., None]
        return ((q @ context) / (total + _EPS)).to(v.dtype)


def linear_attention_reference(q: Tensor, k: Tensor, v: Tensor, normalize: bool = True) -> Tensor:
    """The same, weight by weight for one query after another. Slow on purpose."""
    rows = []
    for i in range(q.shape[-2]):
        weights = (q[..., i:i + 1, :] * k).sum(-1)
        share = weights.sum(-1, keepdim=True) + _EPS if normalize else k.shape[-2]
        rows.append((weights[..., None] * v).sum(-2) / share)
    return torch.stack(rows, dim=-2)
