"""Feature maps of linear attention."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-6  # keeps a zero normaliser from dividing


def elu_feature(x: Tensor) -> Tensor:
    """``ELU(x) + 1``, positive, in float32: bfloat16 loses what eˣ − 1 has of eˣ.

    Source: Linear Transformers (arXiv 2006.16236).
    """
    return F.elu(x.to(torch.promote_types(x.dtype, torch.float32))) + 1


def relu_feature(x: Tensor) -> Tensor:
    """``ReLU(x)``; a query of zeros has a zero normaliser, which is kept from dividing."""
    return F.relu(x)


def focused_feature(x: Tensor, power: float = 3.) -> Tensor:
    """``f(ReLU(x))`` with ``f(x) = ‖x‖ / ‖x^p‖ · x^p``: the same length, a sharper direction.

    Source: FLatten Transformer (arXiv 2308.00442), equation 4.
    """
    x = F.relu(x.float()) + EPS
    sharp = x**power
    return sharp * (x.norm(dim=-1, keepdim=True) / sharp.norm(dim=-1, keepdim=True))


def paired_softmax_feature(x: Tensor) -> Tensor:
    """``[softmax(x), softmax(−x)]``, twice as wide.

    Source: Hedgehog (arXiv 2402.04347), equation 6, of x that a learned map has turned.
    """
    return torch.cat([x.softmax(-1), (-x).softmax(-1)], dim=-1)


#: Name → function of q or k, (…, D) to (…, D), or 2 D of 'paired_softmax'; no value is below 0.
FEATURE_MAPS = {'elu': elu_feature, 'relu': relu_feature, 'focused': focused_feature,
                'paired_softmax': paired_softmax_feature}
FUSED_MAPS = ('elu', 'relu', 'paired_softmax')  # those that the Triton kernels have


def sides(feature_map: str) -> int:
    """How many features a channel becomes under one of :data:`FUSED_MAPS`."""
    return 1 + (feature_map == 'paired_softmax')
