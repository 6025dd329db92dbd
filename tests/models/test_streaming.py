"""CPU inference tile by tile against the plain forward pass."""
from collections import Counter

import pytest
import torch

from mmvitlin.models import Adventurer
from mmvitlin.ops import streamed_block_, trained_block


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


def count_calls(monkeypatch, kind, name, runs):
    run = getattr(kind, name)

    def counted(*args, **kwargs):
        runs[name] += 1
        return run(*args, **kwargs)

    monkeypatch.setattr(kind, name, counted)


@pytest.mark.parametrize('mlp_conv', [0, 3])
def test_columns_and_convolutions_give_the_same_with_and_without_gradients(mlp_conv, monkeypatch):
    """Tiles where there is no convolution, and the modules where there is."""
    net, runs = build(flip_schedule=[1, 2], scan_axes=[0, 2], mlp_conv=mlp_conv), Counter()
    for name in ('forward', 'streamed', 'trained'):
        count_calls(monkeypatch, type(net.layers[0]), name, runs)
    images = torch.randn(2, 3, 50, 90)
    handle = net.layers[0].register_forward_hook(lambda *_: None)
    modules = net.forward_tokens(images, (0, 1, 2))
    handle.remove()
    trained = net.forward_tokens(images, (0, 1, 2))
    with torch.no_grad():
        streamed = net.forward_tokens(images, (0, 1, 2))
    assert runs == (dict(forward=9) if mlp_conv else dict(forward=3, trained=3, streamed=3))
    for a, b, c in zip(modules, trained, streamed, strict=True):
        torch.testing.assert_close(b, a, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(c, a, atol=2e-5, rtol=1e-4)
    for a, b in zip(gradients(trained[2].patches, net), gradients(modules[2].patches, net),
                    strict=True):
        torch.testing.assert_close(a, b, atol=3e-4, rtol=2e-4)


@pytest.mark.parametrize('tile', [1, 7, 64, 100, 1000])
def test_the_tile_does_not_matter(tile):
    block = build().layers[1]
    x = torch.randn(2, 131, 64)
    with torch.no_grad():
        expected = block(x)
        actual = streamed_block_(x.clone(), block.weights(x.dtype), block.reverse, tile)
    torch.testing.assert_close(actual, expected, atol=2e-5, rtol=1e-4)


def test_bfloat16_autocast_stays_near_float32():
    net = build()
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        expected = net(images)[0]
        with torch.autocast('cpu', torch.bfloat16):
            actual = net(images)[0].float()
    assert ((actual - expected).norm() / expected.norm()).item() < 2e-2


def test_weights_changed_in_any_way_are_seen():
    net = build()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = net(images)[0]
        net.layers[0].mlp.w1.weight.data.mul_(2)  # as an averaging hook swaps weights
        assert not torch.allclose(net(images)[0], before)


def gradients(output, net):
    weight = torch.linspace(-1, 1, output.numel()).view_as(output).to(output.dtype)
    return torch.autograd.grad((output * weight).sum(), list(net.parameters()))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize(('length', 'tile'), [(1, 64), (2, 64), (64, 64), (131, 64), (130, 1000),
                                              (67, 2)])
def test_the_trained_block_and_every_gradient_equal_the_modules(dtype, reverse, length, tile):
    block = build(flip_schedule=[1]).layers[int(reverse)].to(dtype)
    x = torch.randn(2, length + 1, 64, dtype=dtype, requires_grad=True)
    expected = block(x)
    weights = expected.detach().sin()
    grads = torch.autograd.grad((expected * weights).sum(), [x, *block.parameters()])
    actual = trained_block(x, block.parameters_in_order(), 1, block.norm.eps, reverse, dtype,
                           tile=tile)
    gradients = torch.autograd.grad((actual * weights).sum(), [x, *block.parameters()])
    tolerance = dict(atol=1e-11, rtol=1e-9) if dtype == torch.float64 else dict(atol=3e-4,
                                                                               rtol=2e-4)
    torch.testing.assert_close(actual, expected, **tolerance)
    for name, a, b in zip(['x', *(n for n, _ in block.named_parameters())], gradients, grads,
                          strict=True):
        torch.testing.assert_close(a, b, **tolerance, msg=lambda m, n=name: f'{n}: {m}')


def test_several_groups_share_b_and_c():
    block = build(mixer_cfg=dict(num_groups=2, d_state=16, head_dims=32)).layers[1].double()
    x = torch.randn(1, 40, 64, dtype=torch.float64, requires_grad=True)
    expected = block(x)
    actual = block.trained(x, torch.float64)
    torch.testing.assert_close(actual, expected)
    for a, b in zip(gradients(actual, block), gradients(expected, block), strict=True):
        torch.testing.assert_close(a, b)


def test_bfloat16_gradients_stay_near_float32():
    wrong, whole = Counter(), Counter()
    for seed in range(8):  # one draw of a vector of two may cancel to almost nothing
        torch.manual_seed(seed)
        block = build().layers[0]
        x = torch.randn(1, 300, 64)
        expected = gradients(block(x), block)
        actual = gradients(block.trained(x, torch.bfloat16), block)
        for (name, _), a, b in zip(block.named_parameters(), actual, expected, strict=True):
            assert a.dtype == torch.float32
            wrong[name] += (a - b).square().sum().item()
            whole[name] += b.square().sum().item()
    for name in whole:
        assert (wrong[name] / whole[name])**0.5 < 4e-2, name


def test_stochastic_depth_draws_as_the_modules_do():
    block = build(drop_path_rate=0.5).layers[2].train()
    x = torch.randn(16, 5, 64)
    torch.manual_seed(3)
    expected = block(x)
    torch.manual_seed(3)
    torch.testing.assert_close(block.trained(x, x.dtype), expected, atol=2e-5, rtol=1e-4)
    assert (expected == x).all(-1).all(-1).any()  # some samples skipped both branches


def test_training_takes_the_tiled_block_and_hooks_the_modules(monkeypatch):
    net, seen = build(), []
    monkeypatch.setattr(type(net.layers[0]), 'trained',
                        lambda self, x, dtype, grid: seen.append(dtype) or x)
    net.train()(torch.randn(1, 3, 32, 32))
    assert seen == [torch.float32] * 3
    handle = net.layers[1].register_forward_hook(lambda *_: None)
    net(torch.randn(1, 3, 32, 32))
    assert len(seen) == 3
    handle.remove()


def test_recomputed_blocks_give_the_same_gradients():
    net = build().train()
    images = torch.randn(1, 3, 48, 64)
    expected = gradients(net(images)[0], net)
    net.with_cp = True
    for a, b in zip(gradients(net(images)[0], net), expected, strict=True):
        torch.testing.assert_close(a, b)


def test_the_trained_block_keeps_a_third_of_what_the_modules_keep():
    block, held = build().layers[0], {}
    x = torch.randn(1, 1025, 64, requires_grad=True)
    for name, run in (('modules', block), ('tiled', lambda x: block.trained(x, x.dtype))):
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(
                lambda t, s=sizes: s.update({t.untyped_storage().data_ptr():
                                             t.untyped_storage().nbytes()}) or t, lambda t: t):
            y = run(x)
        held[name] = sum(sizes.values())
        assert y.requires_grad
    assert held['tiled'] < 0.5 * held['modules']
