"""Linear attention, weight by weight."""
import torch
from torch import Tensor

from mmvitlin.ops.linear_attention.feature_maps import EPS


def linear_attention_reference(q: Tensor, k: Tensor, v: Tensor, normalize: bool = True) -> Tensor:
    """:func:`mmvitlin.ops.linear_attention` of mapped queries and keys, one query after another.

    Slow on purpose.
    """
    rows = []
    for i in range(q.shape[-2]):
        weights = (q[..., i:i + 1, :] * k).sum(-1)
        share = weights.sum(-1, keepdim=True) + EPS if normalize else k.shape[-2]
        rows.append((weights[..., None] * v).sum(-2) / share)
    return torch.stack(rows, dim=-2)
