"""Hadamard matrices, and bases in which all channels have one variance."""
import pytest
import torch

from mmvitlin.ops import equal_variance_rotation, hadamard


@pytest.mark.parametrize('order', [1, 2, 4, 12, 20, 28, 36, 44, 192, 384, 768, 1152, 1280, 1408])
def test_hadamard_matrices(order):
    """1, 2, 12 (Paley I), 36 (Paley II), 192 = 16 · 12, …: widths of published ViTs among them."""
    matrix = hadamard(order)
    assert torch.equal(matrix.abs(), torch.ones(order, order, dtype=torch.float64))
    assert torch.equal(matrix @ matrix.mT, order * torch.eye(order, dtype=torch.float64))


@pytest.mark.parametrize('order', [3, 6, 7, 10, 45])
def test_orders_that_have_none(order):
    """Hadamard matrices exist for 1, 2 and multiples of 4 only."""
    assert hadamard(order) is None


@pytest.mark.parametrize('width', [1, 2, 5, 12, 27, 52, 96])
@pytest.mark.parametrize('rank', ['full', 'low'])
def test_every_channel_gets_the_mean_variance(width, rank):
    x = torch.randn(200, width, dtype=torch.float64) * torch.logspace(0, -3, width).double()
    if rank == 'low':
        x = x[:max(width // 3, 1)]
    covariance = x.mT @ x / len(x)
    rotation = equal_variance_rotation(covariance)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(width, dtype=torch.float64))
    variances = (rotation @ covariance @ rotation.mT).diagonal()
    torch.testing.assert_close(variances, covariance.trace().expand(width) / width)


def test_with_a_hadamard_matrix_every_channel_has_an_equal_part_of_every_eigenvector():
    x = torch.randn(50, 12, dtype=torch.float64)
    vectors = torch.linalg.eigh(x.mT @ x).eigenvectors
    parts = (equal_variance_rotation(x.mT @ x) @ vectors).square()
    torch.testing.assert_close(parts, torch.full_like(parts, 1 / 12))


def test_nothing_to_rotate():
    assert torch.isfinite(equal_variance_rotation(torch.zeros(5, 5))).all()
