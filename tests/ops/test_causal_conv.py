"""The shifted form against torch's convolution."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmvitlin.ops import causal_depthwise_conv1d


@pytest.mark.parametrize('length', [1, 2, 5, 33])
@pytest.mark.parametrize(('bias', 'ahead'), [(True, 0), (False, 0), (True, 1), (False, 3)])
def test_equals_a_padded_depthwise_convolution(length, bias, ahead):
    conv = nn.Conv1d(6, 6, 4, groups=6, padding=3, bias=bias).double()
    x = torch.randn(2, length, 6, dtype=torch.float64, requires_grad=True)
    actual = causal_depthwise_conv1d(x, conv.weight, conv.bias, ahead=ahead)
    expected = conv(F.pad(x.transpose(1, 2), (0, ahead)))[..., ahead:ahead + length].transpose(1, 2)
    torch.testing.assert_close(actual, expected)
    leaves = [x, *conv.parameters()]
    for a, b in zip(torch.autograd.grad(actual.square().sum(), leaves),
                    torch.autograd.grad(expected.square().sum(), leaves), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('ahead', [-1, 4])
def test_a_token_looks_no_further_than_its_taps(ahead):
    with pytest.raises(ValueError, match=f'ahead must be from 0 to 3 with 4 taps, got {ahead}'):
        causal_depthwise_conv1d(torch.randn(1, 5, 6), torch.randn(6, 1, 4), ahead=ahead)


def test_values_keep_their_type_and_sums_a_wider_one():
    x = torch.randn(2, 9, 6).bfloat16()
    weight, bias = torch.randn(6, 1, 4), torch.randn(6)
    y = causal_depthwise_conv1d(x, weight, bias)
    assert torch.equal(y, causal_depthwise_conv1d(x.float(), weight, bias).bfloat16())
