"""CPU inference tile by tile against the plain forward pass."""
import pytest
import torch

from mmvitlin.models import Adventurer
from mmvitlin.ops import streamed_block_


def build(**kwargs):
    net = Adventurer(dict(embed_dims=64, num_layers=3), img_size=64, **kwargs).eval()
    with torch.no_grad():
        for p in net.parameters():  # norms of one and biases of nothing would hide mistakes
            p.add_(0.1 * torch.randn_like(p))
    return net


@pytest.mark.parametrize('size', [(16, 16), (64, 64), (200, 330), (512, 512)])
@pytest.mark.parametrize('schedule', ['alternate', [0, 1, 2], []])
def test_it_equals_the_plain_forward_pass(size, schedule):
    net = build(flip_schedule=schedule)
    images = torch.randn(2, 3, *size)
    plain = net.forward_tokens(images, (0, 1, 2))
    with torch.no_grad():
        streamed = net.forward_tokens(images, (0, 1, 2))
    for a, b in zip(plain, streamed, strict=True):
        assert a.patches.requires_grad
        assert not b.patches.requires_grad
        torch.testing.assert_close(b.patches, a.patches, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(b.cls, a.cls, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize('tile', [1, 7, 64, 100, 1000])
def test_the_tile_does_not_matter(tile):
    block = build().layers[1]
    x = torch.randn(2, 131, 64)
    with torch.no_grad():
        want = block(x)
        got = streamed_block_(x.clone(), block.weights(x.dtype), block.reverse, tile)
    torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-4)


def test_bfloat16_autocast_stays_near_float32():
    net = build()
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        want = net(images)[0]
        with torch.autocast('cpu', torch.bfloat16):
            got = net(images)[0].float()
    assert ((got - want).norm() / want.norm()).item() < 2e-2


def test_weights_changed_in_any_way_are_seen():
    net = build()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = net(images)[0]
        net.layers[0].mlp.w1.weight.data.mul_(2)  # as an averaging hook swaps weights
        assert not torch.allclose(net(images)[0], before)
