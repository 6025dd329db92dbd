"""Linear attention against the token-by-token formula, and its feature maps."""
import pytest
import torch

from mmvitlin.ops import linear_attention, linear_attention_reference
from mmvitlin.ops.linear_attention import FEATURE_MAPS


@pytest.mark.parametrize('normalize', [True, False])
@pytest.mark.parametrize('name', FEATURE_MAPS)
@pytest.mark.parametrize('length', [1, 7, 50])
def test_values_and_gradients(name, normalize, length):
    phi = FEATURE_MAPS[name]
    leaves = [torch.randn(2, 3, length, d, dtype=torch.float64, requires_grad=True)
              for d in (4, 4, 6)]
    q, k, v = leaves
    if name == 'focused':  # computed in float32 inside
        leaves = [t.float().detach().requires_grad_() for t in leaves]
        q, k, v = leaves
    actual = linear_attention(phi(q), phi(k), v, normalize)
    expected = linear_attention_reference(phi(q), phi(k), v, normalize)
    tight = dict(atol=1e-5, rtol=1e-4) if name == 'focused' else dict(atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(actual, expected, **tight)
    weight = torch.randn_like(actual)
    for a, b in zip(torch.autograd.grad((actual * weight).sum(), leaves),
                    torch.autograd.grad((expected * weight).sum(), leaves), strict=True):
        torch.testing.assert_close(a, b, **tight)


def test_equal_weights_average_the_values():
    q, k = torch.ones(1, 1, 5, 3), torch.ones(1, 1, 5, 3)
    v = torch.arange(10.).view(1, 1, 5, 2)
    expected = v.mean(2, keepdim=True).expand_as(v)
    torch.testing.assert_close(linear_attention(q, k, v), expected)
    torch.testing.assert_close(linear_attention(q, k, v, normalize=False), 3 * expected)


def test_queries_of_zeros_divide_by_nothing():
    q = torch.zeros(1, 1, 4, 3, requires_grad=True)
    y = linear_attention(FEATURE_MAPS['relu'](q), torch.rand(1, 1, 4, 3), torch.rand(1, 1, 4, 2))
    y.sum().backward()
    assert (y == 0).all()
    assert torch.isfinite(q.grad).all()


def test_sums_are_float32_in_half_precision():
    """65,536 equal keys: a sum in bfloat16 or float16 would stop growing or overflow."""
    q, k = torch.full((1, 1, 8, 4), 10.), torch.full((1, 1, 65536, 4), 10.)
    v = torch.full((1, 1, 65536, 4), 3.)
    for dtype in (torch.bfloat16, torch.float16):
        y = linear_attention(q.to(dtype), k.to(dtype), v.to(dtype))
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), torch.full((1, 1, 8, 4), 3.))


def test_focused_keeps_the_length():
    x = torch.rand(3, 8) + 0.1
    torch.testing.assert_close(FEATURE_MAPS['focused'](x).norm(dim=-1), x.norm(dim=-1), atol=1e-4,
                               rtol=1e-4)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_elu_keeps_small_features_in_half_precision(dtype):
    x = torch.linspace(-9, 3, 100).to(dtype)
    expected = torch.where(x > 0, x.double() + 1, x.double().exp())
    torch.testing.assert_close(FEATURE_MAPS['elu'](x).double(), expected, rtol=1e-3, atol=0)
