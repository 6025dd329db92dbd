"""Orthonormal bases in which all channels have the same variance."""
from __future__ import annotations

import math

import torch
from torch import Tensor


def hadamard(order: int) -> Tensor | None:
    """A matrix of ±1 whose rows are orthogonal, (order, order) float64.

    Sylvester's doubling of Paley's first and second constructions over prime fields, which covers
    every width of a published ViT (192 = 16 · 12, 1280 = 64 · 20, 1408 = 32 · 44, 1536 = 128 · 12).

    Returns:
        None where this gives no matrix of the order, for one where there is none (odd widths).

    Source: Paley, On Orthogonal Matrices (1933).
    """
    doublings = 0
    while order >= 1:
        core = _paley(order)
        if core is not None:
            for _ in range(doublings):
                core = torch.kron(torch.tensor([[1., 1.], [1., -1.]], dtype=torch.float64), core)
            return core
        if order % 2:
            return None
        order, doublings = order // 2, doublings + 1
    return None


def _paley(order: int) -> Tensor | None:
    """The construction of an order without doubling."""
    if order == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    if order % 4 == 0 and _is_prime(order - 1) and (order - 1) % 4 == 3:
        skew = _bordered_residues(order - 1)
        skew[0, 0], skew[1:, 0] = 0, -1
        return torch.eye(order, dtype=torch.float64) + skew
    half = order // 2
    if order % 4 == 0 and _is_prime(half - 1) and (half - 1) % 4 == 1:
        symmetric = _bordered_residues(half - 1)
        one = torch.eye(half, dtype=torch.float64)
        upper = torch.cat([symmetric + one, symmetric - one], 1)
        return torch.cat([upper, torch.cat([symmetric - one, -symmetric - one], 1)])
    return None


def _bordered_residues(prime: int) -> Tensor:
    """Quadratic characters χ(i − j) of a prime field, with a row and column of ones around."""
    residues = torch.full((prime, ), -1., dtype=torch.float64)
    residues[torch.arange(prime)**2 % prime] = 1
    residues[0] = 0
    places = torch.arange(prime)
    matrix = torch.ones(prime + 1, prime + 1, dtype=torch.float64)
    matrix[0, 0] = 0
    matrix[1:, 1:] = residues[(places[:, None] - places) % prime]
    return matrix


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))


def equal_variance_rotation(covariance: Tensor) -> Tensor:
    """An orthonormal R for which all diagonal entries of ``R Σ Rᵀ`` are the same.

    With ``Σ = U Λ Uᵀ`` it is ``R = H Uᵀ`` with H a :func:`hadamard` matrix over √C: all entries of
    H are as large, so that every channel gets an equal part of every eigenvector,
    ``(R Σ Rᵀ)_cc = Σ_k H_ck² λ_k = tr Σ / C``. Where there is no such H, the same diagonal is
    reached from Uᵀ by at most C − 1 plane rotations, each of which gives one channel the mean
    variance (the Schur-Horn theorem says that it can).

    Args:
        covariance: (C, C), symmetric and not negative.

    Returns:
        (C, C) float64. Of each eigenvector the largest entry is positive, so that R does not
        depend on the eigensolver.

    Source: PHI-S (arXiv 2410.01680); for other widths Bendel and Mickey, Population correlation
    matrices for sampling experiments (1978).
    """
    values, vectors = torch.linalg.eigh(covariance.double())
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    basis = (vectors * torch.where(largest < 0, -1., 1.)).mT
    mixing = hadamard(len(values))
    if mixing is not None:
        return mixing.to(basis) @ basis / math.sqrt(len(values))
    return _level(torch.diag(values)) @ basis


def _level(covariance: Tensor) -> Tensor:
    """Plane rotations, multiplied, that give every channel the mean variance."""
    matrix, rotation = covariance.cpu().clone(), torch.eye(len(covariance), dtype=torch.float64)
    mean = matrix.diagonal().mean()
    for _ in range(len(matrix) - 1):
        low, high = int(matrix.diagonal().argmin()), int(matrix.diagonal().argmax())
        a, b, c = matrix[low, low] - mean, matrix[high, high] - mean, matrix[low, high]
        if b - a <= 1e-12 * mean.abs():
            break
        # (a − 2 c t + b t²) / (1 + t²) = 0 is what the first channel's variance is above the mean
        tangent = (c + torch.sqrt((c * c - a * b).clamp_min(0))) / b
        cosine = torch.rsqrt(1 + tangent**2)
        plane = torch.stack([torch.stack([cosine, -tangent * cosine]),
                             torch.stack([tangent * cosine, cosine])])
        pair = [low, high]
        matrix[pair] = plane @ matrix[pair]
        matrix[:, pair] = matrix[:, pair] @ plane.mT
        rotation[pair] = plane @ rotation[pair]
    return rotation.to(covariance.device)
