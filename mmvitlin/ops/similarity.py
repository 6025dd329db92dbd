"""Distance between the cosine-similarity maps of two token sets."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.precision import no_autocast

_EPS = 1e-12


def _rows_to_distance(cross: Tensor, teacher_sq: Tensor, student_sq: Tensor) -> Tensor:
    """1 − cosine of map rows from their inner products and squared norms."""
    return 1 - cross * torch.rsqrt((teacher_sq * student_sq).clamp_min(_EPS))


def cosine_map_distance_pairwise(student: Tensor, teacher: Tensor) -> Tensor:
    """The readable form: builds both L×L maps. See :func:`cosine_map_distance`."""
    s, t = F.normalize(student.float(), dim=-1), F.normalize(teacher.float(), dim=-1)
    map_s, map_t = s @ s.transpose(-1, -2), t @ t.transpose(-1, -2)
    return _rows_to_distance((map_s * map_t).sum(-1), map_t.square().sum(-1),
                             map_s.square().sum(-1))


def cosine_map_distance_linear(student: Tensor, teacher: Tensor) -> Tensor:
    """The exact form without maps. See :func:`cosine_map_distance`.

    With unit rows S and T, ``<A_t[i], A_s[i]> = t_iᵀ (TᵀS) s_i``, and likewise for the
    norms, so time is O(L d²) and memory O(L d + d²).
    """
    s, t = F.normalize(student.float(), dim=-1), F.normalize(teacher.float(), dim=-1)
    cross = ((t @ (t.transpose(-1, -2) @ s)) * s).sum(-1)
    teacher_sq = ((t @ (t.transpose(-1, -2) @ t)) * t).sum(-1)
    student_sq = ((s @ (s.transpose(-1, -2) @ s)) * s).sum(-1)
    return _rows_to_distance(cross, teacher_sq, student_sq)


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
