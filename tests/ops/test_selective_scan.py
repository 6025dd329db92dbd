"""The tiled selective scan against the recurrence it is defined by: values and gradients."""
import importlib

import pytest
import torch

from mmvitlin.ops import selective_scan, selective_scan_reference


def inputs(batch, length, width, size, dtype=torch.float64, step=0.1):
    torch.manual_seed(length)
    return (torch.randn(batch, length, width, dtype=dtype),
            step * torch.rand(batch, length, width, dtype=dtype) + 1e-3,
            -torch.rand(width, size, dtype=dtype) * 16 - 0.1,
            torch.randn(batch, length, size, dtype=dtype),
            torch.randn(batch, length, size, dtype=dtype), torch.randn(width, dtype=dtype))


def test_the_reference_is_a_sum_over_the_past():
    x, dt, A, B, C, D = inputs(2, 7, 3, 4)
    y = selective_scan_reference(x, dt, A, B, C, D)
    over = dt.cumsum(1)
    for t in range(7):
        expected = D * x[:, t]
        for s in range(t + 1):
            decay = torch.exp((over[:, t] - over[:, s])[..., None] * A)
            weight = ((C[:, t] * B[:, s])[:, None] * decay).sum(-1)
            expected = expected + weight * dt[:, s] * x[:, s]
        torch.testing.assert_close(y[:, t], expected)


@pytest.mark.parametrize('tile', [1, 3, 64])
@pytest.mark.parametrize(('batch', 'length'), [(1, 1), (2, 7), (3, 12), (1, 70)])
def test_tiles_and_every_gradient(batch, length, tile, monkeypatch):
    width, size = 5, 4
    module = importlib.import_module('mmvitlin.ops.selective_scan')
    monkeypatch.setattr(module, '_TILE_NUMBERS', tile * batch * width * size)
    given = [t.requires_grad_() for t in inputs(batch, length, width, size)]
    y, expected = selective_scan(*given), selective_scan_reference(*given)
    torch.testing.assert_close(y, expected)
    seed = torch.randn_like(y)
    for actual, reference in zip(torch.autograd.grad(y, given, seed),
                                 torch.autograd.grad(expected, given, seed), strict=True):
        torch.testing.assert_close(actual, reference)


@pytest.mark.parametrize(('batch', 'length', 'tile'), [(1, 7, 3), (2, 70, 4), (3, 12, 64)])
def test_doubling_and_every_gradient(batch, length, tile, monkeypatch):
    """The order of sums that a GPU takes, here on a CPU that is told it is one."""
    module = importlib.import_module('mmvitlin.ops.selective_scan')
    given = inputs(batch, length, 5, 4)[:5]
    results = []
    for doubling in (False, True):
        monkeypatch.setattr(module, '_doubles', lambda x, doubling=doubling: doubling)
        y, kept = torch.ops.mmvitlin.selective_scan(*given, tile, True)
        grads = torch.ops.mmvitlin.selective_scan_backward(y.cos(), *given, kept, tile)
        results.append([y, kept, *grads])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected)


def test_what_is_kept_does_not_grow_with_the_square_of_the_batch():
    x, dt, A, B, C, _ = inputs(64, 400, 2, 2)
    _, kept = torch.ops.mmvitlin.selective_scan(x, dt, A, B, C, 1, True)
    assert kept.shape == (20, 64, 2, 2)
    _, kept = torch.ops.mmvitlin.selective_scan(x, dt, A, B, C, 1, False)
    assert kept.numel() == 0


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_mixed_precision_does_not_change_the_sums(dtype):
    given = [t.requires_grad_() for t in inputs(1, 40, 3, 4, torch.float32)]
    expected = selective_scan(*given)
    expected_grads = torch.autograd.grad(expected.sum(), given)
    with torch.autocast('cpu', dtype):
        y = selective_scan(*given)
        actual = torch.autograd.grad(y.sum(), given)
    assert all(map(torch.equal, (y, *actual), (expected, *expected_grads)))


def test_the_operator_is_registered_as_torch_requires():
    x, dt, A, B, C, _ = (t.requires_grad_() for t in inputs(2, 7, 3, 4, torch.float32))
    torch.library.opcheck(torch.ops.mmvitlin.selective_scan.default, (x, dt, A, B, C, 3, True))


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_sums_are_wide(dtype):
    """Many small terms: a state of half precision would stop growing."""
    x, dt, A, B, C, _ = (t.to(dtype) for t in inputs(1, 400, 6, 4, step=0.01))
    y = selective_scan(x, dt, A, B, C)
    assert y.dtype == dtype
    expected = selective_scan_reference(*(t.double() for t in (x, dt, A, B, C)))
    tolerance = 1e-5 if dtype == torch.float32 else 5e-3
    assert (y.double() - expected).norm() <= tolerance * expected.norm()


def test_long_steps_forget_without_overflow():
    x, dt, A, B, C, D = inputs(1, 200, 4, 3, torch.float32, step=50.)
    y = selective_scan(x, dt, A, B, C, D)
    assert torch.isfinite(y).all()
    torch.testing.assert_close(y, selective_scan_reference(x, dt, A, B, C, D))
