"""The selective scan, token by token."""
import torch
from torch import Tensor


def selective_scan_reference(x: Tensor,
                             dt: Tensor,
                             A: Tensor,
                             B: Tensor,
                             C: Tensor,
                             D: Tensor | None = None) -> Tensor:
    """Selective scan, token by token.

    ``h[t] = exp(dt[t] A) h[t − 1] + dt[t] x[t] B[t]``, ``y[t] = C[t] · h[t] + D x[t]`` with one
    state of N numbers for each channel.

    Args:
        x: (B, L, C).
        dt: (B, L, C), positive.
        A: (C, N), negative.
        B: (B, L, N).
        C: (B, L, N).
        D: (C,) or None.

    Returns:
        (B, L, C), of the type of ``x``; sums are in float32 or wider.

    Source: Mamba (arXiv 2312.00752), equations 2 and 4, with ``B`` discretised as its code does.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    x_, dt, A, B, C = (t.to(wide) for t in (x, dt, A, B, C))
    state = x_.new_zeros(x.shape[0], *A.shape)
    rows = []
    for t in range(x.shape[1]):
        step = dt[:, t, :, None]
        state = torch.exp(step * A) * state + step * x_[:, t, :, None] * B[:, t, None]
        rows.append((state * C[:, t, None]).sum(-1))
    y = torch.stack(rows, 1) if rows else torch.zeros_like(x_)
    if D is not None:
        y = y + D.to(wide) * x_
    return y.to(x.dtype)
