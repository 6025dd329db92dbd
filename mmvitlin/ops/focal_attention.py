"""Softmax attention to the patches around and to the means of cells further away, O(L)."""
from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.grid_blocks import blocks_in, blocks_of, join_blocks
from mmvitlin.ops.query_attention import query_attention

GATHERED = 2**21  # numbers of the keys that are gathered at a time: 8 MiB in float32
GATHERED_GPU = 2**26
GATHERED_EXPORT = 2**24  # each band is written out


def focal_attention(q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int], block: int,
                    cells: tuple[int, int], scale: float, seen: Tensor | None = None) -> Tensor:
    """Attention that is exact nearby and sees the rest of the image as means.

    The grid is cut into blocks of s × s patches, and into a fixed number of cells. A token of a
    block sees as near, N, the 2s × 2s patches around the block (moved inside the grid at its
    borders) and the tokens before the patches (class, registers). Of each cell c it sees the mean
    key k̄_c and the mean value v̄_c, weighted by the number n_c of its patches that are not near::

        y_i = (Σ_{j ∈ N} exp(λ q_i·k_j) v_j + Σ_c n_c exp(λ q_i·k̄_c) v̄_c)
              / (Σ_{j ∈ N} exp(λ q_i·k_j) + Σ_c n_c exp(λ q_i·k̄_c))

    The tokens before the patches attend to everything by softmax. Each patch has 4s² + cells +
    prefix keys, whatever the size of the image. Keys and values are gathered for a band of blocks
    at a time.

    Args:
        q: Queries, (B, H, L, D); patches are the last h · w tokens.
        k: Keys, (B, H, L, D).
        v: Values, (B, H, L, P).
        grid: (h, w) of the patches.
        block: s, an even number.
        cells: (rows, columns) of cells.
        scale: λ.
        seen: bool (B, Q, L), what each of the first Q tokens sees; None for everything.

    Returns:
        (B, H, L, P), in the type of ``v``.

    Source: fine attention nearby and coarse attention beyond as in Focal Transformers (arXiv
    2107.00641), there with learned pooling; the weight of a mean by its count as in ToMe (arXiv
    2210.09461, equation 1); blocks with a halo as in HaloNet (arXiv 2103.12731).
    """
    prefix = q.shape[2] - grid[0] * grid[1]
    pooled_k, pooled_v = (_means(t[:, :, prefix:], grid, cells) for t in (k, v))
    where, bias = _keys_of_blocks(grid, block, cells, prefix, k)
    parts = []
    if prefix:
        parts.append(query_attention(q[:, :, :prefix], k, v, seen, scale))
    keys, values = (torch.cat(pair, dim=2).flatten(0, 1)
                    for pair in ((k, pooled_k), (v, pooled_v)))  # B·H, L + cells, D
    columns = blocks_in(grid, block)[1]
    rows = _rows_of_blocks(keys, where, columns)  # in a band
    if rows is None:
        parts.append(_band(q[:, :, prefix:], keys, values, where, bias, grid, block, scale))
    else:
        for a in range(0, grid[0], rows * block):
            band = slice(a // block * columns, (a // block + rows) * columns)
            size = (min(rows * block, grid[0] - a), grid[1])
            part = q[:, :, prefix + a * size[1]:prefix + (a + size[0]) * size[1]]
            parts.append(_band(part, keys, values, where[band], bias[band], size, block, scale))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _rows_of_blocks(keys: Tensor, where: Tensor, columns: int) -> int | None:
    """Rows of blocks in a band; None for all of them, and where sizes are symbols."""
    row = keys.shape[0] * keys.shape[2] * where.shape[1] * columns
    if isinstance(row, torch.SymInt) or isinstance(where.shape[0], torch.SymInt):
        return None
    limit = GATHERED if keys.device.type == 'cpu' else GATHERED_GPU
    limit = GATHERED_EXPORT if torch.compiler.is_exporting() else limit
    return None if keys.shape[0] * keys.shape[2] * where.numel() <= limit else max(limit // row, 1)


def _band(q: Tensor, keys: Tensor, values: Tensor, where: Tensor, bias: Tensor,
          grid: tuple[int, int], block: int, scale: float) -> Tensor:
    """Queries of rows of blocks, (B, H, l, D), to their answers, (B, H, l, P)."""
    blocks = blocks_of(q, grid, block)  # B H R C s² D
    at = where.flatten()
    near, inside = (t.index_select(1, at).unflatten(1, where.shape) for t in (keys, values))
    y = F.scaled_dot_product_attention(blocks.flatten(0, 1).flatten(1, 2), near, inside,
                                       attn_mask=bias[None, :, None], scale=scale)
    y = y.unflatten(0, blocks.shape[:2]).unflatten(2, blocks.shape[2:4])
    return join_blocks(y, grid, block)


def _means(x: Tensor, grid: tuple[int, int], cells: tuple[int, int]) -> Tensor:
    """(B, H, h·w, D) to the means of cells, (B, H, rows · columns, D)."""
    rows, cols = (_members(length, count, x.device).to(x.dtype)
                  for length, count in zip(grid, cells, strict=True))
    rows, cols = (m / m.sum(1, keepdim=True).clamp(min=1) for m in (rows, cols))
    x = x.unflatten(2, grid)  # B H h w D
    x = (rows @ x.flatten(3)).unflatten(3, x.shape[3:])
    return (cols @ x).flatten(2, 3)


def _members(length: int, count: int, device: torch.device) -> Tensor:
    """Whether each of ``length`` patches lies in each of ``count`` cells, bool (count, length)."""
    cell = torch.arange(length, device=device) * count // length
    return cell == torch.arange(count, device=device)[:, None]


def _keys_of_blocks(grid: tuple[int, int], block: int, cells: tuple[int, int], prefix: int,
                    k: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of a block's keys among all tokens and cells, (blocks, keys), and what is added to
    their logits: −∞ for what is not there, the logarithm of the count for a cell."""
    (ys, near_y, size_y, both_y), (xs, near_x, size_x, both_x) = (
        _side(torch.arange(blocks, device=k.device), length, block, count)
        for blocks, length, count in zip(blocks_in(grid, block), grid, cells, strict=True))
    where = _outer(ys * grid[1], xs, torch.add) + prefix
    there = _outer(near_y, near_x, torch.logical_and)
    counts = (size_y[:, None] * size_x).flatten() - _outer(both_y, both_x, torch.mul)
    first, last = (torch.arange(n, device=k.device).expand(where.shape[0], -1)
                   for n in (prefix, cells[0] * cells[1]))
    where = torch.cat([first, where, last + prefix + grid[0] * grid[1]], dim=1)
    bias = torch.cat([torch.ones_like(first), there, counts], dim=1)
    return where, bias.to(torch.promote_types(k.dtype, torch.float32)).log().to(k.dtype)


def _outer(y: Tensor, x: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """(rows of blocks, n) and (columns of blocks, m) to (rows · columns, n · m)."""
    return combine(y[:, None, :, None], x[None, :, None]).flatten(2).flatten(0, 1)


def _side(at: Tensor, length: int, block: int, count: int
          ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Along one side of the grid, for blocks at the places ``at`` of that side, (blocks,).

    Returns:
        Patches around each block, (blocks, 2s); whether they are there; patches of each cell,
        (cells,); and those of them that are near each block, (blocks, cells).
    """
    first = (at * block - block // 2).clamp(max=length - 2 * block).clamp(min=0)
    places = first[:, None] + torch.arange(2 * block, device=at.device)
    there = places < length
    cell = torch.arange(count, device=at.device)[:, None]
    near = (places[:, None] * count // length == cell) & there[:, None]
    size = _members(length, count, at.device).sum(1)
    return places.clamp(max=length - 1), there, size, near.sum(2)


def focal_attention_reference(q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int], block: int,
                              cells: tuple[int, int], scale: float, seen: Tensor | None = None
                              ) -> Tensor:
    """:func:`focal_attention`, one token after another. Slow on purpose."""
    prefix, rows = q.shape[2] - grid[0] * grid[1], []
    places = [divmod(n, grid[1]) for n in range(grid[0] * grid[1])]
    cell = [tuple(at * n // length for at, n, length in zip(place, cells, grid, strict=True))
            for place in places]
    for i in range(q.shape[2]):
        query = scale * q[:, :, i:i + 1]
        logits = (query * k).sum(-1)  # B H L
        if i < prefix:
            if seen is not None and i < seen.shape[1]:
                logits = logits.masked_fill(~seen[:, None, i], -torch.inf)
            rows.append((logits.softmax(-1)[..., None] * v).sum(-2))
            continue
        near = [all(_is_near(*pair, length, block) for *pair, length in zip(
            places[i - prefix], place, grid, strict=True)) for place in places]
        own = torch.tensor([True] * prefix + near)
        weights, values = [logits[..., own].exp()], [v[:, :, own]]
        for c in sorted(set(cell)):
            inside = torch.tensor([False] * prefix + [other == c for other in cell])
            mean_k, mean_v = (t[:, :, inside].mean(2, keepdim=True) for t in (k, v))
            count = int((inside & ~own).sum())
            weights.append(count * (query * mean_k).sum(-1).exp())
            values.append(mean_v)
        weights = torch.cat(weights, -1)
        y = (weights[..., None] * torch.cat(values, 2)).sum(-2) / weights.sum(-1, keepdim=True)
        rows.append(y)
    return torch.stack(rows, dim=2)


def _is_near(at: int, other: int, length: int, block: int) -> bool:
    """Whether, along one side, a patch sees another as near."""
    first = max(min(at // block * block - block // 2, length - 2 * block), 0)
    return first <= other < first + 2 * block
