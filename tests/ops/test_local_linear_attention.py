"""Softmax to the patches around and linear attention to all, against the weights one by one."""
import pytest
import torch

from mmvitlin.ops import local_linear_attention, local_linear_attention_reference
from mmvitlin.ops.grid_blocks import blocks_of, join_blocks, regions_of


def inputs(grid, prefix, dtype=torch.float64):
    torch.manual_seed(0)
    length = prefix + grid[0] * grid[1]
    q, k, v, a, b = (torch.randn(2, 3, length, d, dtype=dtype) for d in (4, 4, 5, 6, 6))
    far = torch.tensor([0., 0.1, 2.], dtype=dtype)
    return [t.requires_grad_() for t in (3 * q, 3 * k, v, a.abs(), b.abs(), far)]


@pytest.mark.parametrize(('grid', 'block'), [((4, 8), 4), ((5, 3), 2), ((1, 1), 4), ((3, 9), 4)])
@pytest.mark.parametrize('prefix', [0, 1, 5])
def test_values_and_gradients(grid, block, prefix):
    leaves = inputs(grid, prefix)
    how = (grid, block, 0.7)
    actual = local_linear_attention(*leaves[:5], *how, leaves[5])
    expected = local_linear_attention_reference(*leaves[:5], *how, leaves[5])
    torch.testing.assert_close(actual, expected, atol=1e-10, rtol=1e-9)
    weight = torch.randn_like(actual)
    for x, y in zip(torch.autograd.grad((actual * weight).sum(), leaves),
                    torch.autograd.grad((expected * weight).sum(), leaves), strict=True):
        torch.testing.assert_close(x, y, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize('prefix', [0, 1])
def test_where_everything_is_near_it_is_softmax(prefix):
    q, k, v, a, b, _ = inputs((4, 4), prefix)
    actual = local_linear_attention(q, k, v, a, b, (4, 4), 4, 0.5, torch.zeros(3))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=0.5)
    torch.testing.assert_close(actual, expected)


def test_large_logits_and_half_precision():
    q, k, v, a, b, far = (t.detach().to(torch.bfloat16) for t in inputs((6, 6), 1))
    y = local_linear_attention(100 * q, 100 * k, v, a, b, (6, 6), 2, 1., far)
    assert y.dtype == torch.bfloat16
    assert torch.isfinite(y).all()


def test_blocks_and_what_is_around_them():
    x = torch.arange(1., 36.).view(1, 1, 35, 1)
    assert torch.equal(join_blocks(blocks_of(x, (5, 7), 2), (5, 7), 2), x)
    region = regions_of(x, (5, 7), 2)[0, 0, 1, 1, :, 0].view(4, 4)
    assert torch.equal(region, x.view(5, 7)[1:5, 1:5])
    corner = regions_of(x, (5, 7), 2)[0, 0, 0, 0, :, 0].view(4, 4)
    assert torch.equal(corner[1:, 1:], x.view(5, 7)[:3, :3])
    assert (corner[0] == 0).all()
    assert (corner[:, 0] == 0).all()
