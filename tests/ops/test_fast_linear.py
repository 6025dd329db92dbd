"""Linear layers through oneDNN give what F.linear gives."""
import pytest
import torch
import torch.nn.functional as F

from mmvitlin.models import TimmViT
from mmvitlin.ops import FastLinear, FastPatches, conv_patches, linear


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
        actual = net(images)[0]
    torch.testing.assert_close(actual, net(images)[0], atol=1e-4, rtol=1e-4)


def test_the_context_reaches_other_peoples_layers(monkeypatch):
    seen = []
    monkeypatch.setattr('mmvitlin.ops.cpu.fast_linear.linear',
                        lambda *a: seen.append(1) or F.linear(*a))
    layer = torch.nn.Linear(3, 3)
    with FastLinear():
        layer(torch.ones(1, 3))
    layer(torch.ones(1, 3))
    assert seen == [1]


@pytest.mark.parametrize('size', [(4, 6), (64, 36), (512, 1200)])  # the last in several strips
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_patches(size, dtype):
    images, weight = torch.randn(2, 3, *size, dtype=dtype), torch.randn(8, 3, 4, 6, dtype=dtype)
    bias = torch.randn(8, dtype=dtype)
    with torch.no_grad():
        actual = conv_patches(images, weight, bias)
    assert actual.dtype == dtype
    expected = F.conv2d(images.double(), weight.double(), bias.double(), (4, 6))
    near = dict(atol=0.1, rtol=0.02) if dtype == torch.bfloat16 else dict(atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(actual.double(), expected, **near)


def test_patches_with_gradients_are_the_convolution():
    images, weight = torch.randn(1, 3, 8, 8), torch.randn(2, 3, 4, 4, requires_grad=True)
    assert torch.equal(conv_patches(images, weight), F.conv2d(images, weight, stride=4))
    assert conv_patches(images, weight).requires_grad


@pytest.mark.parametrize('cut', [
    dict(kernel_size=4, stride=4), dict(kernel_size=4, stride=2), dict(kernel_size=3),
    dict(kernel_size=4, stride=4, padding=2), dict(kernel_size=1), dict(kernel_size=5, stride=5),
    dict(kernel_size=4, stride=4, dilation=2)])
def test_the_context_takes_only_convolutions_that_cut(cut, monkeypatch):
    seen = []
    monkeypatch.setattr('mmvitlin.ops.cpu.fast_linear.conv_patches',
                        lambda *a: seen.append(1) or conv_patches(*a))
    layer, images = torch.nn.Conv2d(3, 5, **cut), torch.randn(2, 3, 16, 24)
    with torch.no_grad(), FastPatches():
        actual = layer(images), layer(images[0])
    for one, of in zip(actual, (images, images[0]), strict=True):
        torch.testing.assert_close(one, layer(of), atol=1e-5, rtol=1e-5)
    assert len(seen) == (cut == dict(kernel_size=4, stride=4))  # not of a single image


def test_arguments_by_name():
    images, weight, bias = torch.randn(1, 3, 8, 8), torch.randn(2, 3, 4, 4), torch.randn(2)
    with torch.no_grad(), FastPatches():
        actual = (F.conv2d(images, weight, bias=bias, stride=4),
                  F.conv2d(input=images, weight=weight, stride=(4, 4)))
    torch.testing.assert_close(actual[0], F.conv2d(images, weight, bias, 4), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(actual[1], F.conv2d(images, weight, None, 4), atol=1e-5, rtol=1e-5)


def test_an_image_in_bfloat16_is_cut_in_little_memory():
    """oneDNN's convolution takes 270 MiB here."""
    from mmvitlin.utils.machine import peak_memory
    images = torch.randn(1, 3, 2048, 4096, dtype=torch.bfloat16)
    weight = torch.randn(16, 3, 16, 16, dtype=torch.bfloat16)

    @torch.no_grad()
    def cut():
        return conv_patches(images, weight)

    cut()
    assert peak_memory(cut, 'cpu') < 60
