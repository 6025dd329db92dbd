"""Attention in which the first tokens, the queries of a head, see only some of the tokens."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.linear_attention import linear_attention
from mmvitlin.ops.linear_attention.feature_maps import EPS
from mmvitlin.ops.precision import no_autocast


def query_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None,
                    scale: float | None = None, dropout: float = 0.) -> Tensor:
    """Softmax attention, the first Q rows masked.

    All other rows see every token and run without a mask, through the kernels that take none: no
    matrix of L × L values is made, neither of weights nor of a mask.

    Args:
        q: (B, H, L, D).
        k: (B, H, L, D).
        v: (B, H, L, P).
        mask: bool (B, Q, L), true where one of the first Q tokens sees another; None for no mask.
        scale: Of the products; 1 / √D if not given.
        dropout: Probability that a weight is left out.

    Returns:
        (B, H, L, P).

    Source: Mask2Former (arXiv 2112.01527), equation 2, among the tokens of a plain ViT as in EoMT
    (arXiv 2503.19108), section 3.3.
    """
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scale)
    count = mask.shape[1]
    masked = F.scaled_dot_product_attention(q[:, :, :count], k, v, attn_mask=mask[:, None],
                                            dropout_p=dropout, scale=scale)
    if count == q.shape[2]:
        return masked
    others = F.scaled_dot_product_attention(q[:, :, count:], k, v, dropout_p=dropout, scale=scale)
    return torch.cat([masked, others], dim=2)


def query_attention_reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor,
                              scale: float | None = None) -> Tensor:
    """:func:`query_attention` with the whole matrix of weights. Slow on purpose."""
    length, count = k.shape[2], mask.shape[1]
    whole = torch.ones(len(q), length, length, dtype=torch.bool, device=q.device)
    whole[:, :count] = mask
    weights = (q @ k.transpose(-1, -2)) * (q.shape[-1]**-0.5 if scale is None else scale)
    return weights.masked_fill(~whole[:, None], -torch.inf).softmax(-1) @ v


def query_linear_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, normalize: bool = True
                           ) -> Tensor:
    """Linear attention, the first Q rows masked: weight by weight for those, O(Q L).

    Args:
        q: Mapped queries, (B, H, L, D).
        k: Mapped keys, (B, H, L, D).
        v: Values, (B, H, L, P).
        mask: See :func:`query_attention`.
        normalize: Divide by the sum of weights; else by the number of tokens that are seen.

    Returns:
        (B, H, L, P), in the type of ``v``.
    """
    count = mask.shape[1]
    others = linear_attention(q, k, v, normalize)[:, :, count:]
    acc = torch.float64 if v.dtype == torch.float64 else torch.float32
    with no_autocast(v):
        seen = mask[:, None].to(acc)
        weights = (q[:, :, :count].to(acc) @ k.to(acc).transpose(-1, -2)) * seen
        share = weights.sum(-1, keepdim=True) + EPS if normalize else seen.sum(-1, keepdim=True)
        masked = (weights @ v.to(acc)) / share
    return torch.cat([masked.to(v.dtype), others], dim=2)


def query_linear_attention_reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor,
                                     normalize: bool = True) -> Tensor:
    """:func:`query_linear_attention` row by row and sample by sample. Slow on purpose."""
    samples = []
    for b in range(len(q)):
        rows = []
        for i in range(q.shape[2]):
            seen = mask[b, i] if i < mask.shape[1] else torch.ones_like(mask[b, 0])
            weights = (q[b, :, i:i + 1] * k[b][:, seen]).sum(-1)
            share = weights.sum(-1, keepdim=True) + EPS if normalize else seen.sum()
            rows.append((weights[..., None] * v[b][:, seen]).sum(-2) / share)
        samples.append(torch.stack(rows, dim=1))
    return torch.stack(samples)
