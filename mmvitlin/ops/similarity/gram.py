"""Distance between the Gram matrices of two token sets."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmvitlin.ops.padding import zeros_around
from mmvitlin.ops.precision import no_autocast
from mmvitlin.ops.similarity.reference import gram_distance_pairwise
from mmvitlin.ops.similarity.token_tiles import samples, through_unit_rows, tiles, unit_rows


def gram_distance(student: Tensor, teacher: Tensor, form: str = 'auto') -> Tensor:
    """Mean squared difference of the cosine Gram matrices, ``‖SSᵀ − TTᵀ‖² / L²`` (Frobenius).

    S and T are the tokens, divided by their lengths. No L×L matrix is needed::

        ‖SSᵀ − TTᵀ‖² = ‖SᵀS‖² − 2 ‖SᵀT‖² + ‖TᵀT‖²

    so that time is O(L d²) and memory O(L d + d²). The three terms nearly cancel where student and
    teacher are alike, so it is computed from differences, with D = S − T and P = S + T (the
    narrower side is filled up with zeros, which changes no Gram matrix)::

        SSᵀ − TTᵀ = ½ (D Pᵀ + P Dᵀ),    ‖SSᵀ − TTᵀ‖² = ½ ( <DᵀD, PᵀP> + <PᵀD, DᵀP> )

    Args:
        student: Features, (B, L, C_s).
        teacher: Features, (B, L, C_t).
        form: 'pairwise' (O(L²)), 'linear' (O(L d²), the same value), or 'auto': the one with fewer
            multiplications, linear from about as many tokens as channels.

    Returns:
        (B,) distances in [0, 4], float32, or float64 where the student is.

    Raises:
        ValueError: an unknown form, or token counts that differ.

    Source: Gram anchoring of DINOv3 (arXiv 2508.10104); the linear form is ours.
    """
    if student.shape[:-1] != teacher.shape[:-1]:
        raise ValueError(f'student tokens {tuple(student.shape)} and teacher tokens '
                         f'{tuple(teacher.shape)} differ in number')
    if form == 'auto':
        width = max(student.shape[-1], teacher.shape[-1])
        form = 'linear' if 5 * width < 4 * student.shape[-2] else 'pairwise'
    if form not in ('linear', 'pairwise'):
        raise ValueError(f"form must be 'auto', 'pairwise' or 'linear', got '{form}'")
    with no_autocast(student):
        if form == 'pairwise':
            return gram_distance_pairwise(student, teacher)
        return _GramDistance.apply(student, teacher)


class _GramDistance(torch.autograd.Function):
    """``½ (<M_D, M_P> + <M, Mᵀ>) / L²`` with ``M_D = DᵀD``, ``M_P = PᵀP`` and ``M = PᵀD``.

    With E = SSᵀ − TTᵀ the gradient of ‖E‖² is 4 E S and −4 E T, and as S = ½ (P + D)::

        E S = ¼ ( D (M_P + M) + P (Mᵀ + M_D) ),    E T = ¼ ( D (M_P − M) + P (Mᵀ − M_D) )
    """

    @staticmethod
    def forward(ctx, student: Tensor, teacher: Tensor) -> Tensor:
        dtype = torch.float64 if student.dtype == torch.float64 else torch.float32
        width = max(student.shape[-1], teacher.shape[-1])
        products = student.new_zeros(3, len(student), width, width, dtype=dtype)
        for n in samples(student):
            of_difference, of_sum, mixed = (m[n] for m in products)
            for z in tiles(student):
                difference, total = _difference_and_sum(student[n, z], teacher[n, z], dtype)
                of_difference += difference.mT @ difference
                of_sum += total.mT @ total
                mixed += total.mT @ difference
        ctx.save_for_backward(student, teacher, products)
        of_difference, of_sum, mixed = products
        # sums over d² entries of both signs: a float32 sum would lose what the products kept
        value = (of_difference * of_sum + mixed * mixed.mT).sum((-2, -1), dtype=torch.float64)
        return (0.5 * value / student.shape[-2]**2).clamp_min_(0).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        student, teacher, products = ctx.saved_tensors
        of_difference, of_sum, mixed = products
        scale = grad[:, None, None].to(products.dtype) / student.shape[-2]**2
        gradients: list[Tensor | None] = []
        for x, needed, sign in zip((student, teacher), ctx.needs_input_grad, (1, -1), strict=True):
            if not needed:
                gradients.append(None)
                continue
            to_difference = (of_sum + sign * mixed) * (sign * scale)
            to_sum = (mixed.mT + sign * of_difference) * (sign * scale)
            gradients.append(_gradient(x, student, teacher, to_difference, to_sum))
        return gradients[0], gradients[1]


def _gradient(x: Tensor, student: Tensor, teacher: Tensor, to_difference: Tensor,
              to_sum: Tensor) -> Tensor:
    """Gradient of one side, ``x``, from the matrices that D and P are multiplied with."""
    out = torch.empty_like(x)
    for n in samples(x):
        for z in tiles(x):
            difference, total = _difference_and_sum(student[n, z], teacher[n, z], to_sum.dtype)
            grad = difference @ to_difference[n]
            grad += total @ to_sum[n]
            rows, inverse = unit_rows(x[n, z], to_sum.dtype)
            out[n, z] = through_unit_rows(grad[..., :x.shape[-1]], rows, inverse)
    return out


def _difference_and_sum(student: Tensor, teacher: Tensor, dtype: torch.dtype
                        ) -> tuple[Tensor, Tensor]:
    s, t = unit_rows(student, dtype)[0], unit_rows(teacher, dtype)[0]
    wider = max(s.shape[-1], t.shape[-1])
    s, t = (zeros_around(x, 0, wider - x.shape[-1]) for x in (s, t))
    return s - t, s + t
