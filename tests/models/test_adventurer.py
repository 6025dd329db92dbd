"""Adventurer: counts, block, sizes, masks, positions, layer depth."""
import pytest
import torch

from mmvitlin.models import Adventurer
from mmvitlin.models.backbones.adventurer import AdventurerBlock
from mmvitlin.models.layers import SwiGLU
from mmvitlin.utils.errors import CheckpointError

TINY = dict(arch=dict(embed_dims=32, num_layers=4), img_size=64, patch_size=16)


def build(**kwargs):
    return Adventurer(**{**TINY, **kwargs}).eval()


@pytest.mark.parametrize(('arch', 'count', 'with_head'), [
    ('tiny', 11_351_840, 11_608_840), ('small', 43_978_816, 44_491_816),
    ('base', 97_888_608, 98_657_608), ('large', 345_171_200, 346_196_200)])
def test_parameter_counts_are_the_published_ones(arch, count, with_head):
    with torch.device('meta'):
        net = Adventurer(arch)
    assert sum(p.numel() for p in net.parameters()) == count
    assert count + net.embed_dims * 1000 + 1000 == with_head


@pytest.mark.parametrize('reverse', [False, True])
def test_block_is_the_paper_s(reverse):
    block = AdventurerBlock(32, reverse).eval()
    h = torch.randn(2, 11, 32)

    y = h / (h.square().mean(-1, keepdim=True) + 1e-5).sqrt() * block.norm.weight
    order = [*reversed(range(10)), 10] if reverse else list(range(11))
    y = y[:, order]
    y = torch.cat([y.sum(1, keepdim=True) / 11, y], 1)
    y = block.mixer(y)[:, 1:]
    h2 = h + y[:, order]  # the permutation is its own inverse
    n = h2 / (h2.square().mean(-1, keepdim=True) + 1e-5).sqrt() * block.norm_mlp.weight
    mlp = block.mlp
    a, b = mlp.w1(n), mlp.w2(n)
    expected = h2 + mlp.w3(a * torch.sigmoid(a) * b)
    torch.testing.assert_close(block(h), expected, atol=1e-5, rtol=1e-4)


def test_reversal_schedules():
    def reversed_blocks(**kwargs):
        return [i for i, layer in enumerate(build(**kwargs).layers) if layer.reverse]
    assert reversed_blocks() == [1, 3]
    assert reversed_blocks(flip_schedule='released') == [2, 3]
    assert reversed_blocks(flip_schedule=[0]) == [0]
    with pytest.raises(ValueError, match='flip_schedule'):
        build(flip_schedule='random')
    with pytest.raises(ValueError, match='block numbers below 4'):
        build(flip_schedule=[9])


def test_a_column_scan_of_an_image_is_a_row_scan_of_its_transpose():
    rows, columns = (AdventurerBlock(32, reverse=True, columns=c).eval() for c in (False, True))
    columns.load_state_dict(rows.state_dict())
    image = torch.randn(1, 3, 5, 32)  # of patches
    cls = torch.randn(1, 1, 32)

    def tokens(image):
        return torch.cat([image.flatten(1, 2), cls], 1)

    actual = columns(tokens(image), (3, 5))
    expected = rows(tokens(image.transpose(1, 2)), (5, 3))
    torch.testing.assert_close(actual[:, :-1].unflatten(1, (3, 5)),
                               expected[:, :-1].unflatten(1, (5, 3)).transpose(1, 2))
    torch.testing.assert_close(actual[:, -1], expected[:, -1])


def test_scan_axes_are_described_and_files_along_other_axes_refused(tmp_path):
    def columns(**kwargs):
        return [i for i, layer in enumerate(build(**kwargs).layers) if layer.columns]
    assert columns() == []
    assert columns(scan_axes='alternate') == [2, 3]
    assert columns(scan_axes=[1]) == [1]
    with pytest.raises(ValueError, match="scan_axes must be 'rows', 'alternate' or block numbers"):
        build(scan_axes='columns')
    net = build(scan_axes='alternate')
    torch.save(dict(meta=dict(backbone=net.describe()), state_dict=net.state_dict()),
               tmp_path / 'a.pth')
    assert build(scan_axes=[2, 3]).load_weights(tmp_path / 'a.pth').matched
    with pytest.raises(CheckpointError, match=r'blocks \[2, 3\] along columns.*scan_axes=\[2, 3\]'):
        build().load_weights(tmp_path / 'a.pth')


def test_weights_without_the_convolution_load_and_compute_the_same(tmp_path):
    plain, net = build(), build(mlp_conv=3)
    torch.save(plain.state_dict(), tmp_path / 'a.pth')
    report = net.load_weights(tmp_path / 'a.pth')
    assert not report.missing
    images = torch.randn(1, 3, 50, 77)
    torch.testing.assert_close(net(images)[0], plain(images)[0], atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        net.layers[1].mlp.conv.weight.normal_()
    assert not torch.allclose(net(images)[0], plain(images)[0], atol=1e-3)
    torch.save(net.state_dict(), tmp_path / 'b.pth')
    again = build(mlp_conv=3)
    again.load_weights(tmp_path / 'b.pth')
    assert torch.equal(again.layers[1].mlp.conv.weight, net.layers[1].mlp.conv.weight)


def test_the_convolution_is_over_the_patches_and_not_the_class_token():
    mlp = SwiGLU(4, 6, conv_kernel=3)
    with torch.no_grad():
        mlp.conv.weight.zero_()
        mlp.conv.weight[:, 0, 2, 1] = 1  # takes the value one row below
    x = torch.randn(1, 2 * 3 + 1, 4)
    below = torch.cat([mlp.w2(x)[:, 3:6], torch.zeros(1, 3, 6), mlp.w2(x)[:, 6:]], 1)
    expected = mlp.w3(torch.nn.functional.silu(mlp.w1(x)) * below)
    torch.testing.assert_close(mlp(x, (2, 3)), expected)
    with pytest.raises(ValueError, match='conv_kernel must be odd'):
        SwiGLU(4, 6, conv_kernel=2)


@pytest.mark.parametrize('patch', [8, 16])
@pytest.mark.parametrize(('height', 'width'), [(64, 64), (64, 128), (50, 77), (16, 16), (33, 200)])
def test_any_size(height, width, patch):
    net = build(patch_size=patch, out_indices=(1, -1))
    maps = net(torch.randn(2, 3, height, width))
    grid = (-(-height // patch), -(-width // patch))
    assert [tuple(m.shape) for m in maps] == [(2, 32, *grid)] * 2


def test_padding_adds_only_the_missing_pixels():
    net = build()
    image = torch.randn(1, 3, 64, 64)
    image[..., 60:] = 0
    torch.testing.assert_close(net(image[..., :60])[0], net(image)[0])


def test_an_image_below_one_patch():
    with pytest.raises(ValueError, match='10x64 pixels is smaller than one patch of 16x16'):
        build()(torch.randn(1, 3, 10, 64))


def test_out_types():
    net = build(out_type='raw')
    images = torch.randn(2, 3, 64, 64)
    tokens, = net.forward_tokens(images)
    assert net(images)[0].shape == (2, 17, 32)
    torch.testing.assert_close(net(images)[0][:, -1], tokens.cls)
    for out_type, expected in (('cls_token', tokens.cls), ('avg_featmap', tokens.patches.mean(1)),
                               ('featmap', tokens.patches.transpose(1, 2).reshape(2, 32, 4, 4))):
        net.out_type = out_type
        torch.testing.assert_close(net(images)[0], expected)
    with pytest.raises(ValueError, match='out_type must be one of'):
        build(out_type='logits')


def test_only_the_last_layer_is_normed():
    net = build()
    with torch.no_grad():
        net.norm_f.weight.fill_(7.)
    inner, last = net.forward_tokens(torch.randn(1, 3, 64, 64), (2, 3))
    assert last.patches.square().mean(-1).sqrt().mean().item() == pytest.approx(7, rel=1e-3)
    assert inner.patches.square().mean(-1).sqrt().mean() < 5


@pytest.mark.parametrize('reverse', ['alternate', []])
def test_masked_pixels_cannot_be_seen(reverse):
    net = build(flip_schedule=reverse)
    net.enable_masking()
    images = torch.randn(2, 3, 64, 64)
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[:, [3, 8, 9]] = True
    changed = images.clone()
    for index in (3, 8, 9):
        r, c = divmod(index, 4)
        changed[..., 16 * r:16 * r + 16, 16 * c:16 * c + 16] = torch.randn(2, 3, 16, 16) * 50
    a, b = (net.forward_tokens(x, -1, mask)[0] for x in (images, changed))
    assert torch.equal(a.patches, b.patches)
    assert torch.equal(a.cls, b.cls)
    # and without the mask they can
    assert not torch.equal(net(images)[0], net(changed)[0])


def test_masks_that_do_not_fit():
    net = build()
    images = torch.randn(1, 3, 64, 64)
    with pytest.raises(RuntimeError, match='enable_masking'):
        net.forward_tokens(images, -1, torch.zeros(1, 16, dtype=torch.bool))
    net.enable_masking()
    with pytest.raises(ValueError, match=r'mask must be bool \(1, 16\)'):
        net.forward_tokens(images, -1, torch.zeros(1, 15, dtype=torch.bool))


def test_positions_of_patches_are_interpolated_and_that_of_the_class_token_is_not():
    net = build()
    seen = []
    net.layers[0].register_forward_pre_hook(lambda m, args: seen.append(args[0].detach()))
    with torch.no_grad():
        net.patch_embed.proj.weight.zero_()
        net.patch_embed.proj.bias.zero_()
        net.pos_embed[:, :-1] = 3.
        net.pos_embed[:, -1] = -5.
        net.cls_token.fill_(1.)
        net(torch.randn(1, 3, 96, 160))
    tokens = seen[0]
    assert tokens.shape == (1, 61, 32)
    torch.testing.assert_close(tokens[:, :-1], torch.full((1, 60, 32), 3.))
    torch.testing.assert_close(tokens[:, -1], torch.full((1, 32), -4.))


def test_positions_learned_at_another_size_are_fitted_on_loading():
    small, large = build(), build(img_size=(64, 128))
    large.load_state_dict(small.state_dict())
    torch.testing.assert_close(large.pos_embed[:, -1], small.pos_embed[:, -1])
    images = torch.randn(1, 3, 64, 128)
    torch.testing.assert_close(large(images)[0], small(images)[0], atol=1e-5, rtol=1e-4)


def test_recomputation_gives_the_same_gradients():
    net = build().train()
    images = torch.randn(2, 3, 64, 64)
    grads = []
    for net.with_cp in (False, True):
        net.zero_grad()
        net(images)[0].square().mean().backward()
        grads.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_layer_depth_covers_every_parameter():
    net = build()
    groups = {n: net.get_layer_depth(f'backbone.{n}', 'backbone.') for n, _ in
              net.named_parameters()}
    assert groups['patch_embed.proj.weight'] == (0, 6)
    assert groups['pos_embed'] == groups['cls_token'] == (0, 6)
    assert groups['layers.0.norm.weight'] == (1, 6)
    assert groups['layers.3.mlp.w3.bias'] == (4, 6)
    assert groups['norm_f.weight'] == (5, 6)
    assert net.get_layer_depth('decode_head.conv.weight', 'backbone.') == (5, 6)


def test_train_and_round_trip_and_bad_names():
    net = build()
    assert net.train() is net
    other = build()
    other.load_state_dict(net.state_dict())
    images = torch.randn(1, 3, 64, 64)
    net.eval()
    torch.testing.assert_close(net(images)[0], other(images)[0])
    with pytest.raises(ValueError, match="unknown Adventurer arch 'huge'"):
        Adventurer('huge')
    with pytest.raises(ValueError, match=r"needs the keys \['embed_dims', 'num_layers'\]"):
        Adventurer(dict(width=3))
    with pytest.raises(IndexError, match='there is no layer 9 in a Adventurer of 4 layers'):
        build(out_indices=(1, 9))(images)


def test_compiled_equals_eager():
    net = build()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(net, backend='aot_eager')(images)[0],
                                   net(images)[0])
