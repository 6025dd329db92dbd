"""Distance between the cosine-similarity maps of two token sets."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmvitlin.ops.precision import no_autocast
from mmvitlin.ops.similarity.reference import cosine_map_distance_pairwise, rows_to_distance
from mmvitlin.ops.similarity.token_tiles import EPS, samples, through_unit_rows, tiles, unit_rows


def cosine_map_distance_linear(student: Tensor, teacher: Tensor) -> Tensor:
    """The exact form without maps. See :func:`cosine_map_distance`.

    With unit rows S and T, ``<A_t[i], A_s[i]> = s_iᵀ (SᵀT) t_i``, and likewise for the
    norms, so time is O(L d²) and memory O(L d + d²). Tokens are walked in tiles; two products of
    the student's size are kept for the backward pass.
    """
    return _LinearDistance.apply(student, teacher)


class _LinearDistance(torch.autograd.Function):
    """``d_i = 1 − c_i / √(a_i b_i)`` with ``c_i = s_i·N t_i``, ``a_i = s_i·G s_i``,
    ``b_i = t_i·H t_i``, where ``N = SᵀT``, ``G = SᵀS`` and ``H = TᵀT``."""

    @staticmethod
    def forward(ctx, student: Tensor, teacher: Tensor) -> Tensor:
        acc = torch.float64 if student.dtype == torch.float64 else torch.float32
        rows = student.new_empty(3, *student.shape[:-1], dtype=acc)
        needed = ctx.needs_input_grad[0]
        kept = student.new_empty(2, *student.shape, dtype=acc) if needed else None
        for n in samples(student):
            grams = _grams(student[n], teacher[n], acc)
            cross, of_student, of_teacher = grams
            for z in tiles(student):
                s, t = unit_rows(student[n, z], acc)[0], unit_rows(teacher[n, z], acc)[0]
                u, v, w = t @ cross.mT, s @ of_student, t @ of_teacher
                for row, x, y in zip(rows, (s, s, t), (u, v, w), strict=True):
                    row[n, z] = (x * y).sum(-1)
                if needed:
                    kept[0][n, z], kept[1][n, z] = u, v
        ctx.save_for_backward(student, teacher, rows, kept)
        c, a, b = rows
        return rows_to_distance(c, b, a)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        student, teacher, rows, kept = ctx.saved_tensors
        c, a, b = rows
        inverse = torch.rsqrt((a * b).clamp_min(EPS))
        to_c = -grad * inverse
        to_square = grad * torch.where(a * b > EPS, 0.5 * c * inverse**3, 0)
        to_a, to_b = (to_square * b)[..., None], (to_square * a)[..., None]
        to_c = to_c[..., None]
        d_student, d_teacher = (
            torch.empty_like(x) if needed else None
            for x, needed in zip((student, teacher), ctx.needs_input_grad, strict=True))
        for n in samples(student):
            if d_student is not None:
                _to_rows(d_student[n], student[n], teacher[n], to_c[n], to_a[n],
                         lambda z, s, t, n=n: (kept[0][n, z], kept[1][n, z]))
            if d_teacher is not None:
                cross, _, gram = _grams(student[n], teacher[n], rows.dtype)
                _to_rows(d_teacher[n], teacher[n], student[n], to_c[n], to_b[n],
                         lambda z, t, s, m=(cross, gram): (s @ m[0], t @ m[1]))
        return d_student, d_teacher


def _grams(student: Tensor, teacher: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """SᵀT, SᵀS and TᵀT."""
    grams: list[Tensor] = []
    for z in tiles(student):
        s, t = unit_rows(student[..., z, :], dtype)[0], unit_rows(teacher[..., z, :], dtype)[0]
        parts = [s.mT @ t, s.mT @ s, t.mT @ t]
        grams = [x.add_(y) for x, y in zip(grams, parts, strict=True)] if grams else parts
    return grams


def _to_rows(out: Tensor, own: Tensor, other: Tensor, to_c: Tensor, to_own: Tensor,
             products: Callable[[slice, Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Gradient of one side, written to ``out``.

    ``c`` and the own norm depend on each row itself and, through the Gram matrices, on all.
    """
    dtype, cross, gram = to_c.dtype, 0., 0.
    for z in tiles(own):
        x, y = unit_rows(own[..., z, :], dtype)[0], unit_rows(other[..., z, :], dtype)[0]
        cross = x.mT @ (to_c[..., z, :] * y) + cross
        gram = x.mT @ (to_own[..., z, :] * x) + gram
    for z in tiles(own):
        (x, inverse), y = unit_rows(own[..., z, :], dtype), unit_rows(other[..., z, :], dtype)[0]
        first, second = products(z, x, y)
        grad = torch.addcmul(y @ cross.mT, to_c[..., z, :], first)
        grad += 2 * torch.addcmul(x @ gram, to_own[..., z, :], second)
        out[..., z, :] = through_unit_rows(grad, x, inverse)


def cosine_map_distance(student: Tensor, teacher: Tensor, form: str = 'auto') -> Tensor:
    """Row-wise distance of token-similarity maps, ``1 − <Ā_tea(i,:), Ā_stu(i,:)>``.

    ``A(i,j) = cos(f(i), f(j))`` with no softmax, and each row is divided by its norm.

    Args:
        student: Features, (B, L, C_s).
        teacher: Features, (B, L, C_t).
        form: 'pairwise' (O(L²)), 'linear' (O(L d²), the same value), or 'auto': the
            one with fewer multiplications, linear from about as many tokens as channels.

    Returns:
        (B, L) distances in [0, 1], float32.

    Source: ViT-Linearizer (arXiv 2504.00037), activation matching; the linear form is
    ours.
    """
    with no_autocast(student):  # `.float()` alone is undone at `@`
        return _distance(student, teacher, form)


def _distance(student: Tensor, teacher: Tensor, form: str) -> Tensor:
    if form == 'auto':
        ds, dt, length = student.shape[-1], teacher.shape[-1], student.shape[-2]
        form = 'linear' if 2 * (ds * dt + ds**2 + dt**2) < length * (ds + dt) else 'pairwise'
    if form == 'linear':
        return cosine_map_distance_linear(student, teacher)
    if form == 'pairwise':
        return cosine_map_distance_pairwise(student, teacher)
    raise ValueError(f"form must be 'auto', 'pairwise' or 'linear', got '{form}'")
