"""Linear layers through oneDNN give what F.linear gives."""
import pytest
import torch
import torch.nn.functional as F

from mmvitlin.models import TimmViT
from mmvitlin.ops import FastLinear, linear


@pytest.mark.parametrize('shape', [(1, 48), (300, 48), (2, 3, 100, 48), (2, 500, 48)])
@pytest.mark.parametrize('bias', [True, False])
def test_values(shape, bias):
    x, weight, b = torch.randn(shape), torch.randn(70, 48), torch.randn(70) if bias else None
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight, b), F.linear(x, weight, b))


def test_gradients_and_other_types_take_the_usual_way(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, '_linear_pointwise', None)
    x, weight = torch.randn(300, 8), torch.randn(4, 8, requires_grad=True)
    linear(x, weight).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0).expand(4, 8))
    with torch.no_grad():
        for dtype in (torch.float64, torch.bfloat16):
            assert linear(x.to(dtype), weight.to(dtype)).dtype == dtype
        with torch.autocast('cpu', torch.bfloat16):
            assert linear(x, weight).dtype == torch.bfloat16
        with pytest.raises(TypeError):  # the library is asked here
            linear(x, weight)


@pytest.mark.parametrize('attention', ['softmax', 'linear'])
def test_a_vit_infers_as_it_trains(attention):
    net = TimmViT('vit_tiny_patch16_224', attention=attention, img_size=256,
                  model_kwargs=dict(depth=2)).eval()
    images = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        got = net(images)[0]
    torch.testing.assert_close(got, net(images)[0], atol=1e-4, rtol=1e-4)


def test_the_context_reaches_other_peoples_layers(monkeypatch):
    seen = []
    monkeypatch.setattr('mmvitlin.ops.fast_linear.linear',
                        lambda *a: seen.append(1) or F.linear(*a))
    layer = torch.nn.Linear(3, 3)
    with FastLinear():
        layer(torch.ones(1, 3))
    layer(torch.ones(1, 3))
    assert seen == [1]
