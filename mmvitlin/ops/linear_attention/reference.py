"""Linear attention, weight by weight."""
import torch
from torch import Tensor

from mmvitlin.ops.linear_attention.fused import EPS


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


def local_linear_attention_reference(q: Tensor, k: Tensor, v: Tensor, mapped_q: Tensor,
                                     mapped_k: Tensor, grid: tuple[int, int], block: int,
                                     scale: float, far: Tensor) -> Tensor:
    """:func:`mmvitlin.ops.local_linear_attention`, one token after another.

    Slow on purpose.
    """
    prefix, rows = q.shape[2] - grid[0] * grid[1], []
    for i in range(q.shape[2]):
        logits = scale * (q[:, :, i:i + 1] * k).sum(-1)  # B H L
        if i < prefix:
            weights = logits.softmax(-1)
        else:
            y, x = (at // block * block for at in divmod(i - prefix, grid[1]))
            near = torch.tensor([j < prefix or all(
                a - block // 2 <= at < a + block + block // 2 for a, at in
                ((y, (j - prefix) // grid[1]), (x, (j - prefix) % grid[1])))
                for j in range(k.shape[2])])
            highest = logits[..., near].amax(-1, keepdim=True)
            weights = torch.where(near, (logits - highest).exp(), 0.) + far[:, None] * (
                mapped_q[:, :, i:i + 1] * mapped_k).sum(-1)
            weights = weights / weights.sum(-1, keepdim=True)
        rows.append((weights[..., None] * v).sum(-2))
    return torch.stack(rows, dim=2)
