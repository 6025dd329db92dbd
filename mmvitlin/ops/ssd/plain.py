"""The state space dual scan in ordinary operators only, for runtimes without ours."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.padding import zeros_around
from mmvitlin.ops.precision import no_autocast

DEFAULT_CHUNK = 128


def _decay(later: Tensor, earlier: Tensor, strict: bool) -> Tensor:
    """exp(later_i − earlier_j) for j ≤ i (j < i where strict), else 0; (…, n) to (…, n, n).

    What is left out is masked before exp, so that it cannot overflow.
    """
    steps = torch.arange(later.shape[-1], device=later.device)
    out = steps[:, None] <= steps if strict else steps[:, None] < steps
    difference = later[..., :, None] - earlier[..., None, :]
    return torch.exp(difference.masked_fill(out, float('-inf')))


def ssd_plain(x: Tensor,
              dt: Tensor,
              A: Tensor,
              B: Tensor,
              C: Tensor,
              D: Tensor | None = None,
              chunk_size: int | None = None) -> Tensor:
    """State space dual scan without loops, in-place writes or custom operators.

    Shapes, result and source as in :func:`ssd_reference`. The states before all chunks come from
    one product with the decays between chunks, (L / chunk)² numbers a head: small beside the
    projections up to some hundred thousand tokens. Lengths may be symbolic, so that one exported
    graph serves every image size.

    Args:
        chunk_size: Tokens in a chunk (default 128).
    """
    chunk = chunk_size or DEFAULT_CHUNK
    batch, length, heads, width = x.shape
    groups, size = B.shape[2:]
    share = heads // groups
    count = (length + chunk - 1) // chunk
    if isinstance(length, torch.SymInt):
        count = count + 2  # a graph traced over several chunks is none for one or two
    pad = count * chunk - length
    acc = torch.float64 if x.dtype == torch.float64 else torch.float32
    px, pdt, pB, pC = (zeros_around(t.to(acc), *[0, 0] * (t.ndim - 2), 0, pad)
                       for t in (x, dt, B, C))

    def cut(t: Tensor) -> Tensor:  # (b, L, G · …) to (b, K, G, …, Q)
        return t.reshape(batch, count, chunk, groups, t.shape[2] // groups, *t.shape[3:])

    steps = cut(pdt).permute(0, 1, 3, 4, 2)  # b K G R Q
    values = cut(px).permute(0, 1, 3, 4, 2, 5) * steps[..., None]  # b K G R Q P
    keys, queries = (cut(t)[:, :, :, :, 0].transpose(2, 3)[:, :, :, None] for t in (pB, pC))
    log = torch.cumsum(steps * A.to(acc).reshape(groups, share, 1), dim=-1)  # b K G R Q

    with no_autocast(x):
        kernel = (queries @ keys.transpose(-1, -2)) * _decay(log, log, strict=False)
        inner = kernel @ values  # b K G R Q P
        end = log[..., -1:]
        weighted = values * torch.exp(end - log)[..., None]
        odd = isinstance(count, int) and count > 1 and count % 2 == 1
        if odd:  # the last chunk adds to no other; matrix units of bfloat16 want an even number
            weighted, keys = weighted[:, :-1], keys[:, :-1]
        added = keys.transpose(-1, -2) @ weighted  # b K G R N P
        over = torch.cumsum(end[..., 0], dim=1).permute(0, 2, 3, 1)  # b G R K, up to a chunk's end
        before = F.pad(over[..., :-1], (1, 0))
        between = _decay(before, over, strict=True)  # b G R K K
        if odd:
            between = between[..., :-1]
        starts = between @ added.permute(0, 2, 3, 1, 4, 5).flatten(4)
        starts = starts.unflatten(4, (size, width)).permute(0, 3, 1, 2, 4, 5)
        outer = (queries @ starts) * torch.exp(log)[..., None]

    y = (inner + outer).permute(0, 1, 4, 2, 3, 5).reshape(batch, count * chunk, heads, width)
    if isinstance(length, torch.SymInt):  # a slice would fix whether there is padding
        y = y.index_select(1, torch.arange(length, device=x.device))
    else:
        y = y[:, :length]
    if D is not None:
        y = y + D.to(acc)[:, None] * x.to(acc)
    return y.to(x.dtype)
