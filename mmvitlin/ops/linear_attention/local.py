"""Softmax attention to the patches around, linear attention to all: one set of weights, O(L)."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.grid_blocks import blocks_of, join_blocks, regions_of
from mmvitlin.ops.precision import no_autocast


def local_linear_attention(q: Tensor, k: Tensor, v: Tensor, mapped_q: Tensor, mapped_k: Tensor,
                           grid: tuple[int, int], block: int, scale: float, far: Tensor) -> Tensor:
    """Attention whose weights near a token are those of softmax.

    The grid is cut into blocks of s × s patches. Token i of a block sees as near, N(i), the
    2s × 2s patches around the block and the tokens before the patches (class, registers)::

        w_ij = [j ∈ N(i)] exp(λ q_i·k_j − m_i) + f φ(q_i)·φ(k_j),    m_i = max_{j ∈ N(i)} λ q_i·k_j
        y_i = Σ_j w_ij v_j / Σ_j w_ij

    The tokens before the patches attend to everything by softmax. The sums in float32 (float64
    for such values).

    Args:
        q: Queries, (B, H, L, D); patches are the last h · w tokens.
        k: Keys, (B, H, L, D).
        v: Values, (B, H, L, P).
        mapped_q: φ of the queries, (B, H, L, E), not negative.
        mapped_k: φ of the keys.
        grid: (h, w) of the patches.
        block: s, an even number.
        scale: λ.
        far: f ≥ 0 of each head, (H,).

    Returns:
        (B, H, L, P), in the type of ``v``.

    Source: the weights of LoLCATs (arXiv 2410.10254, equation 6), whose window is a run of tokens;
    blocks with a halo as in HaloNet (arXiv 2103.12731).
    """
    acc = torch.float64 if v.dtype == torch.float64 else torch.float32
    prefix = q.shape[2] - grid[0] * grid[1]
    whole = F.scaled_dot_product_attention(q[:, :, :prefix], k, v, scale=scale)
    with no_autocast(v):
        q, k, v_, mapped_q, mapped_k, far = (
            t.to(acc) for t in (q, k, v, mapped_q, mapped_k, far))
        total, weight = _near(q, k, v_, grid, block, scale)
        answers = mapped_q[:, :, prefix:] @ (mapped_k.transpose(-1, -2) @ v_)
        shares = mapped_q[:, :, prefix:] @ mapped_k.sum(-2)[..., None]
        far = far[:, None, None]
        y = (total + far * answers) / (weight + far * shares)
    return torch.cat([whole, y.to(v.dtype)], dim=2)


def _near(q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int], block: int, scale: float
          ) -> tuple[Tensor, Tensor]:
    """Of the patches: Σ exp(λ q·k − m) v, (B, H, h·w, P), and Σ exp(λ q·k − m), (B, H, h·w, 1),
    over what is near."""
    prefix = q.shape[2] - grid[0] * grid[1]
    queries = blocks_of(q[:, :, prefix:], grid, block)
    keys, values = (regions_of(t[:, :, prefix:], grid, block) for t in (k, v))
    valid = regions_of(q.new_ones(1, 1, grid[0] * grid[1], 1), grid, block)[..., 0].bool()
    logits = (queries @ keys.transpose(-1, -2)).masked_fill(~valid.unsqueeze(-2), float('-inf'))
    first = queries @ k[:, :, None, None, :prefix].transpose(-1, -2)
    logits = torch.cat([first, logits], dim=-1) * scale
    weights = (logits - logits.amax(-1, keepdim=True)).exp()
    total = weights[..., :prefix] @ v[:, :, None, None, :prefix] + weights[..., prefix:] @ values
    return tuple(join_blocks(t, grid, block) for t in (total, weights.sum(-1, keepdim=True)))
