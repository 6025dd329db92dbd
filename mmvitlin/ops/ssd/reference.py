"""The state space dual scan, token by token: what every backend must equal."""
from __future__ import annotations

import torch
from torch import Tensor


def ssd_reference(x: Tensor,
                  dt: Tensor,
                  A: Tensor,
                  B: Tensor,
                  C: Tensor,
                  D: Tensor | None = None) -> Tensor:
    """Run the Mamba-2 recurrence one token at a time.

    For each head, with the state ``S`` of shape (P, N) starting at zero::

        S_t = exp(dt_t A) S_{t-1} + dt_t x_t B_tᵀ
        y_t = S_t C_t + D x_t

    Computed in float32, or in float64 when ``x`` is float64. Slow on purpose.

    Args:
        x: Values, (B, L, H, P).
        dt: Step sizes after softplus, (B, L, H).
        A: Negative decay rates, (H,).
        B: Input matrices, (B, L, G, N); H is a multiple of G.
        C: Output matrices, (B, L, G, N).
        D: Skip weights, (H,), or None.

    Returns:
        (B, L, H, P) in the type of ``x``.

    Source: Mamba-2 (arXiv 2405.21060), equation 1 and section 5.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    repeat = x.shape[2] // B.shape[2]
    xs, steps = x.to(dtype), dt.to(dtype)
    Bs = B.to(dtype).repeat_interleave(repeat, dim=2)
    Cs = C.to(dtype).repeat_interleave(repeat, dim=2)
    decay = torch.exp(steps * A.to(dtype))
    state = xs.new_zeros(x.shape[0], x.shape[2], x.shape[3], B.shape[3])
    outputs = []
    for t in range(x.shape[1]):
        update = (steps[:, t, :, None] * xs[:, t])[..., None] * Bs[:, t, :, None, :]
        state = decay[:, t, :, None, None] * state + update
        outputs.append((state * Cs[:, t, :, None, :]).sum(-1))
    y = torch.stack(outputs, dim=1)
    if D is not None:
        y = y + D.to(dtype)[:, None] * xs
    return y.to(x.dtype)
