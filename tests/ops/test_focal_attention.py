"""Focal attention against the weights one by one, and against softmax."""
import pytest
import torch
import torch.nn.functional as F

from mmvitlin.ops import focal_attention, focal_attention_reference


def inputs(grid, prefix, dtype=torch.float64):
    torch.manual_seed(0)
    length = prefix + grid[0] * grid[1]
    return [torch.randn(2, 3, length, d, dtype=dtype).mul(2).requires_grad_() for d in (4, 4, 5)]


CASES = [((4, 8), 4, (2, 2)), ((5, 3), 2, (2, 3)), ((1, 1), 4, (1, 1)), ((3, 9), 4, (8, 8)),
         ((9, 10), 2, (3, 4)), ((2, 2), 4, (5, 1))]


@pytest.mark.parametrize(('grid', 'block', 'cells'), CASES)
@pytest.mark.parametrize('prefix', [0, 3])
def test_values_and_gradients(grid, block, cells, prefix):
    leaves = inputs(grid, prefix)
    fast = focal_attention(*leaves, grid, block, cells, 0.7)
    slow = focal_attention_reference(*leaves, grid, block, cells, 0.7)
    torch.testing.assert_close(fast, slow, atol=1e-10, rtol=1e-9)
    weight = torch.randn_like(fast)
    for x, y in zip(torch.autograd.grad((fast * weight).sum(), leaves),
                    torch.autograd.grad((slow * weight).sum(), leaves), strict=True):
        torch.testing.assert_close(x, y, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize('numbers', [1, 2000, 4000])
def test_bands_change_nothing(numbers, monkeypatch):
    leaves = inputs((9, 6), 1)
    whole = focal_attention(*leaves, (9, 6), 2, (2, 2), 0.7)
    monkeypatch.setitem(focal_attention.__globals__, 'GATHERED', numbers)
    banded = focal_attention(*leaves, (9, 6), 2, (2, 2), 0.7)
    torch.testing.assert_close(banded, whole, atol=1e-12, rtol=1e-12)
    for x, y in zip(torch.autograd.grad(banded.sum(), leaves),
                    torch.autograd.grad(whole.sum(), leaves), strict=True):
        torch.testing.assert_close(x, y, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize('grid', [(8, 8), (6, 7)])
@pytest.mark.parametrize('prefix', [0, 1])
def test_where_everything_is_near_it_is_softmax(grid, prefix):
    q, k, v = inputs(grid, prefix)
    y = focal_attention(q, k, v, grid, 4, (3, 3), 0.5)
    torch.testing.assert_close(y, F.scaled_dot_product_attention(q, k, v, scale=0.5))


def test_cells_of_one_patch_are_softmax_too():
    q, k, v = inputs((6, 8), 1)
    y = focal_attention(q, k, v, (6, 8), 2, (6, 8), 0.5)
    torch.testing.assert_close(y, F.scaled_dot_product_attention(q, k, v, scale=0.5))


def test_what_queries_of_a_head_see():
    q, k, v = inputs((4, 4), 3)
    seen = torch.rand(2, 2, 19) > 0.5
    seen[..., 0] = True
    y = focal_attention(q, k, v, (4, 4), 2, (2, 2), 0.5, seen)
    torch.testing.assert_close(
        y, focal_attention_reference(q, k, v, (4, 4), 2, (2, 2), 0.5, seen))
    want = F.scaled_dot_product_attention(q[:, :, :2], k, v, seen[:, None], scale=0.5)
    torch.testing.assert_close(y[:, :, :2], want)


def test_half_precision_and_large_logits():
    q, k, v = (t.detach() for t in inputs((6, 6), 1, torch.float32))
    want = focal_attention(q, k, v, (6, 6), 2, (2, 2), 1.)
    y = focal_attention(*(t.bfloat16() for t in (q, k, v)), (6, 6), 2, (2, 2), 1.)
    assert y.dtype == torch.bfloat16
    assert (y - want).norm() < 0.05 * want.norm()
    assert torch.isfinite(focal_attention(100 * q, 100 * k, v, (6, 6), 2, (2, 2), 1.)).all()


def test_keys_of_a_patch_do_not_grow_with_the_image():
    """What autograd keeps for a patch is the same at four times the size."""
    kept = []
    for side in (16, 32):
        total = 0

        def count(t):
            nonlocal total
            total += t.numel()
            return t
        leaves = inputs((side, side), 1)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
            focal_attention(*leaves, (side, side), 4, (4, 4), 0.5)
        kept.append(total / side**2)
    assert kept[1] < 1.1 * kept[0]
