"""The state space dual scan as matrix products over chunks, in plain torch."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DEFAULT_CHUNK = 64


def _carry(states: Tensor, log_decay: Tensor) -> Tensor:
    """State at the *start* of every chunk.

    Args:
        states: What each chunk adds by its end, (B, K, G, N, R, P), float32.
        log_decay: Log decay over each whole chunk, (B, K, G, R), float32.

    Returns:
        (B, K, G, N, R, P): entry k holds chunks 0 … k-1 decayed to the start of k.
    """
    decay = torch.exp(log_decay)[:, :, :, None, :, None]
    carried = torch.zeros_like(states[:, 0])
    starts = []
    for k in range(states.shape[1]):
        starts.append(carried)
        carried = torch.addcmul(states[:, k], carried, decay[:, k])
    return torch.stack(starts, dim=1)


def ssd_chunked(x: Tensor,
                dt: Tensor,
                A: Tensor,
                B: Tensor,
                C: Tensor,
                D: Tensor | None = None,
                chunk_size: int | None = None) -> Tensor:
    """State space dual scan in O(L · chunk) with matrix products inside chunks.

    Shapes, result and source as in :func:`ssd_reference`. Any length: the last
    chunk is padded with steps of size zero, which change nothing. Decays are kept as
    logarithms in float32 and every difference of them is masked to -inf before it is
    exponentiated, so nothing overflows in any input type. ``C Bᵀ`` is computed once
    a group and shared by the group's heads. Python loops over chunks, never tokens.

    Args:
        chunk_size: Tokens in a chunk (default 64).
    """
    batch, length, heads, width = x.shape
    groups, state = B.shape[2:]
    ratio = heads // groups
    acc = torch.float64 if x.dtype == torch.float64 else torch.float32
    chunk = min(chunk_size or DEFAULT_CHUNK, length)
    pad = -length % chunk
    xs, steps = x, dt.to(acc)
    if pad:
        xs = F.pad(xs, (0, 0, 0, 0, 0, pad))
        steps = F.pad(steps, (0, 0, 0, pad))
        B = F.pad(B, (0, 0, 0, 0, 0, pad))
        C = F.pad(C, (0, 0, 0, 0, 0, pad))
    num = (length + pad) // chunk

    # letters: B batch, K chunks, Q tokens of a chunk, G groups, R heads of a group
    xs = xs.view(batch, num, chunk, groups, ratio, width)
    steps = steps.view(batch, num, chunk, groups, ratio)
    Bs = B.view(batch, num, chunk, groups, state).transpose(2, 3)  # B K G Q N
    Cs = C.view(batch, num, chunk, groups, state).transpose(2, 3)
    log_decay = torch.cumsum(steps * A.to(acc).view(groups, ratio), dim=2)  # B K Q G R
    log_end = log_decay[:, :, -1]

    # inside a chunk: y_i += Σ_{j≤i} exp(log_i − log_j) (C_i · B_j) dt_j x_j
    by_head = log_decay.permute(0, 1, 3, 4, 2)  # B K G R Q
    later = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).triu(1)
    difference = by_head[..., :, None] - by_head[..., None, :]
    kernel = torch.exp(difference.masked_fill(later, float('-inf')))
    kernel = kernel * (Cs @ Bs.transpose(-1, -2)).to(acc)[:, :, :, None]
    kernel = kernel * steps.permute(0, 1, 3, 4, 2)[..., None, :]
    y = kernel.to(x.dtype) @ xs.permute(0, 1, 3, 4, 2, 5)  # B K G R Q P
    y = y.permute(0, 1, 4, 2, 3, 5)  # B K Q G R P

    # across chunks: carry the state, then y_i += exp(log_i) C_i S_start
    if num > 1:
        to_end = torch.exp(log_end[:, :, None] - log_decay) * steps
        weighted = (xs * to_end[..., None].to(x.dtype)).transpose(2, 3).flatten(4)
        added = (Bs.transpose(-1, -2) @ weighted).to(acc)  # B K G N (R P)
        starts = _carry(added.unflatten(-1, (ratio, width)), log_end)
        inherited = Cs @ starts.flatten(4).to(x.dtype)  # B K G Q (R P)
        inherited = inherited.unflatten(-1, (ratio, width)).transpose(2, 3)
        y = y + inherited * torch.exp(log_decay)[..., None].to(x.dtype)

    y = y.reshape(batch, num * chunk, heads, width)[:, :length]
    if D is not None:
        y = torch.addcmul(y, x, D.to(x.dtype)[:, None])
    return y
