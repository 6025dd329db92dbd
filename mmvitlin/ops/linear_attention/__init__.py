"""Non-causal linear attention and its feature maps."""
from __future__ import annotations

import torch
from torch import Tensor

from mmvitlin.ops.launch import on_gpu, warn_of_eager
from mmvitlin.ops.linear_attention.feature_maps import EPS, FEATURE_MAPS, FUSED_MAPS
from mmvitlin.ops.linear_attention.fused import attend_fused, fused_problem
from mmvitlin.ops.linear_attention.reference import linear_attention_reference
from mmvitlin.ops.precision import no_autocast

__all__ = ['FEATURE_MAPS', 'LinearState', 'fused_problem', 'linear_attention',
           'linear_attention_reference']


class LinearState:
    """Sums over all keys and values, from which the output of any query follows.

    Both grow with the width and not with the number of tokens, so keys and values may come in
    parts. In float32 (float64 for such values) for any input type.

    Args:
        normalize: Divide by the sum of weights; else by the number of keys, so that the output's
            scale does not depend on the image's size.
    """

    def __init__(self, normalize: bool = True):
        self.normalize, self.length = normalize, 0
        self.context: Tensor | None = None
        self.keys: Tensor | None = None

    def add(self, k: Tensor, v: Tensor) -> None:
        """Take in mapped keys (B, H, L, D) and values (B, H, L, P)."""
        acc = torch.float64 if v.dtype == torch.float64 else torch.float32
        with no_autocast(v):
            k = k.to(acc)
            context, keys = k.transpose(-1, -2) @ v.to(acc), k.sum(-2)[..., None]
        first = self.context is None
        self.context = context if first else self.context + context
        self.keys = keys if first else self.keys + keys
        self.length = self.length + k.shape[-2]

    def read(self, q: Tensor, dtype: torch.dtype) -> Tensor:
        """Outputs (B, H, L, P) of mapped queries (B, H, L, D), as ``dtype``."""
        with no_autocast(q):
            q = q.to(self.context.dtype)
            if not self.normalize:
                return (q @ (self.context / self.length)).to(dtype)
            return ((q @ self.context) / (q @ self.keys + EPS)).to(dtype)


def linear_attention(q: Tensor, k: Tensor, v: Tensor, normalize: bool = True,
                     feature_map: str | None = None, backend: str = 'auto') -> Tensor:
    """Attention of every token to every token in O(L).

    ``O_i = φ(q_i) Σ_j φ(k_j)ᵀ v_j / (φ(q_i) · Σ_j φ(k_j))``, the sums and the division in float32
    for any input type. Without the normaliser the sum is divided by L, so that its size does not
    depend on the image's.

    Args:
        q: Queries, (B, H, L, D).
        k: Keys, (B, H, L, D).
        v: Values, (B, H, L, P).
        normalize: Divide by the sum of weights.
        feature_map: One of :data:`FEATURE_MAPS` to map queries and keys with, or None where they
            are mapped.
        backend: 'fused' (our Triton kernels, with products in the type of ``v``), 'torch'
            (ordinary operators, all in float32), or 'auto' (the former on a GPU where it can run).

    Returns:
        (B, H, L, P), in the type of ``v``.

    Raises:
        ValueError: an unknown backend.
        RuntimeError: the kernels were asked for and cannot run; says why.

    Source: Linear Transformers (arXiv 2006.16236), equation 5.
    """
    if backend not in ('auto', 'fused', 'torch'):
        raise ValueError(f"backend must be 'auto', 'fused' or 'torch', got '{backend}'")
    if feature_map not in (None, *FUSED_MAPS):
        q, k, feature_map = FEATURE_MAPS[feature_map](q), FEATURE_MAPS[feature_map](k), None
    if backend == 'fused' and (reason := fused_problem(q, v)):
        raise RuntimeError(f"linear attention backend 'fused' cannot run: {reason}")
    if backend == 'fused' or backend == 'auto' and on_gpu(q) and not fused_problem(q, v):
        return attend_fused(q, k, v, normalize, feature_map)
    if backend == 'auto':
        warn_of_eager('linear attention', v, fused_problem(q, v))
    if feature_map is not None:
        q, k = FEATURE_MAPS[feature_map](q), FEATURE_MAPS[feature_map](k)
    state = LinearState(normalize)
    state.add(k, v)
    return state.read(q, v.dtype)
