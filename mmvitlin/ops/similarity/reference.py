"""Distances of token sets from their L×L maps, which are built."""
import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.similarity.token_tiles import EPS


def rows_to_distance(cross: Tensor, teacher_sq: Tensor, student_sq: Tensor) -> Tensor:
    """1 − cosine of map rows from their inner products and squared norms."""
    return 1 - cross * torch.rsqrt((teacher_sq * student_sq).clamp_min(EPS))


def cosine_map_distance_pairwise(student: Tensor, teacher: Tensor) -> Tensor:
    """The readable form: builds both L×L maps. See :func:`mmvitlin.ops.cosine_map_distance`."""
    s, t = F.normalize(student.float(), dim=-1), F.normalize(teacher.float(), dim=-1)
    map_s, map_t = s @ s.transpose(-1, -2), t @ t.transpose(-1, -2)
    return rows_to_distance((map_s * map_t).sum(-1), map_t.square().sum(-1),
                             map_s.square().sum(-1))


def gram_distance_pairwise(student: Tensor, teacher: Tensor) -> Tensor:
    """The readable form: builds both L×L matrices. See :func:`mmvitlin.ops.gram_distance`."""
    dtype = torch.float64 if student.dtype == torch.float64 else torch.float32
    s, t = F.normalize(student.to(dtype), dim=-1), F.normalize(teacher.to(dtype), dim=-1)
    return (s @ s.mT - t @ t.mT).square().mean((-2, -1))
