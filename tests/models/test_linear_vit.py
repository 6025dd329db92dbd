"""The linear ViT: inherited weights, options that start as nothing, hybrids."""
from contextlib import nullcontext

import pytest
import torch

from mmvitlin.models import TimmViT
from mmvitlin.models.backbones.timm_blocks import stream_block_
from mmvitlin.models.layers import HedgehogMap, LinearAttention, resize_positions
from mmvitlin.ops import linear_attention, linear_attention_reference
from mmvitlin.ops.linear_attention.feature_maps import elu_feature
from mmvitlin.utils.errors import CheckpointError, ConfigError
from tests.models.test_timm_vit import FAMILIES, build


@pytest.mark.parametrize('family', FAMILIES)
def test_it_is_timms_network_with_the_naive_formula_for_attention(family, monkeypatch):
    """timm makes queries, keys and values, turns them, and projects; the middle is replaced."""
    net, timms = build(family, attention='linear'), build(family)
    timms.load_state_dict(net.state_dict())
    images = torch.randn(1, 3, 3 * net.patch_size, 5 * net.patch_size)
    actual, = net.forward_tokens(images)
    calls = []

    def linear(q, k, v, *args, **kwargs):
        calls.append(q.shape)
        return linear_attention_reference(elu_feature(q), elu_feature(k), v)

    monkeypatch.setattr(torch.nn.functional, 'scaled_dot_product_attention', linear)
    with torch.no_grad():
        expected = timms.vit.forward_features(images)[:, net.vit.num_prefix_tokens:]
    assert len(calls) == 3
    torch.testing.assert_close(actual.patches, expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize('family', FAMILIES)
def test_it_has_the_parameters_of_the_softmax_network(family):
    softmax, linear = build(family), build(family, attention='linear')
    assert {k: v.shape for k, v in softmax.state_dict().items()} == \
        {k: v.shape for k, v in linear.state_dict().items()}
    linear.load_state_dict(softmax.state_dict())
    images = torch.randn(1, 3, 4 * softmax.patch_size, 4 * softmax.patch_size)
    x = torch.randn(1, 9, 48)
    a, b = softmax.vit.blocks[0].attn, linear.vit.blocks[0].attn
    if getattr(a, 'qkv', None) is not None and 'rotary' not in family:
        q, k, v = b.queries_keys_values(x, None)
        expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        torch.testing.assert_close(a(x), a.proj(a.norm(expected.transpose(1, 2).flatten(2))))
    assert not torch.allclose(softmax(images)[0], linear(images)[0], atol=1e-3, rtol=1e-3)


def test_convolution_and_gate_start_without_effect_and_then_act():
    plain = build('clip', attention='linear')
    extra = TimmViT(FAMILIES['clip'][0], img_size=64, attention='linear',
                    model_kwargs=dict(embed_dim=48, depth=3, num_heads=3),
                    linear_cfg=dict(conv_kernel=3, output_gate=True)).eval()
    missing, unexpected = extra.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all('.conv.' in k or '.out_gate.' in k for k in missing)
    images = torch.randn(1, 3, 64, 80)
    torch.testing.assert_close(extra(images)[0], plain(images)[0], atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        extra.vit.blocks[0].attn.conv.weight.normal_()
    assert not torch.allclose(extra(images)[0], plain(images)[0], atol=1e-3)


def test_the_convolution_is_over_the_grid():
    attn = build('dinov2 registers', attention='linear', linear_cfg=dict(conv_kernel=3)
                 ).vit.blocks[0].attn
    with torch.no_grad():
        attn.conv.weight.zero_()
        attn.conv.bias.zero_()
        attn.conv.weight[:, :, 2, 1] = 1  # takes the value one row below
    v = torch.randn(2, 3, 5 + 12, 16)
    local = attn._convolved(v, (3, 4))
    values = v.transpose(1, 2).flatten(2)
    assert (local[:, :5] == 0).all()
    torch.testing.assert_close(local[:, 5:13], values[:, 9:17])
    assert (local[:, 13:] == 0).all()


def test_hybrids():
    net = build('clip', attention='linear', softmax_layers=(-1, ))
    assert net.attention == ('linear', 'linear', 'softmax')
    assert not isinstance(net.vit.blocks[2].attn, LinearAttention)
    net = build('clip', attention=['softmax', 'linear', 'softmax'])
    assert [isinstance(b.attn, LinearAttention) for b in net.vit.blocks] == [False, True, False]


@pytest.mark.parametrize('feature_map', ['relu', 'focused', 'hedgehog'])
@pytest.mark.parametrize('normalize', [True, False])
def test_options_train(feature_map, normalize):
    net = build('augreg', attention='linear',
                linear_cfg=dict(feature_map=feature_map, normalize=normalize)).train()
    net(torch.randn(2, 3, 64, 64))[0].square().mean().backward()
    grads = {n: p.grad for n, p in net.named_parameters()}
    assert all(g is not None and torch.isfinite(g).all() for g in grads.values())
    assert (feature_map == 'hedgehog') == any('map_q' in n for n in grads)


def test_hedgehog_features_are_distributions():
    y = HedgehogMap(2, 4)(torch.randn(1, 2, 5, 4))
    assert y.shape == (1, 2, 5, 8)
    torch.testing.assert_close(y.sum(-1), torch.full((1, 2, 5), 2.))


def test_bad_options():
    with pytest.raises(ValueError, match="feature_map must be one of.*'tanh'"):
        build('clip', attention='linear', linear_cfg=dict(feature_map='tanh'))
    with pytest.raises(ValueError, match='conv_kernel must be odd'):
        build('clip', attention='linear', linear_cfg=dict(conv_kernel=4))
    with pytest.raises(TypeError, match='no attention'):
        LinearAttention(torch.nn.Linear(2, 2))


def saved(net, path, describe=True):
    """As training leaves a network."""
    torch.save(dict(meta=dict(backbone=net.describe()) if describe else {},
                    state_dict={f'backbone.{k}': v for k, v in net.state_dict().items()}), path)
    return str(path)


def test_the_kind_of_linear_attention_is_remembered(tmp_path):
    kwargs = dict(attention='linear', linear_cfg=dict(feature_map='relu'))
    path = saved(build('clip', **kwargs), tmp_path / 'a.pth')
    assert build('clip', **kwargs).load_weights(path, 'backbone.').matched
    with pytest.raises(CheckpointError, match="trained with linear_cfg=.*'relu'.*this network has"):
        build('clip', attention='linear').load_weights(path, 'backbone.')
    with pytest.raises(CheckpointError, match=r'linear attention in the layers \[0, 1, 2\]'):
        build('clip').load_weights(path, 'backbone.')
    softmax = saved(build('clip'), tmp_path / 'b.pth')  # whose weights may start a linear one
    assert build('clip', **kwargs).load_weights(softmax, 'backbone.').matched


@pytest.mark.parametrize(('in_file', 'own', 'words'), [
    (dict(num_heads=2), dict(num_heads=4), "'heads': 2.*'heads': 4"),
    (dict(act_layer='quick_gelu'), {}, 'QuickGELU.*GELU'),
])
def test_weights_of_one_shape_that_mean_something_else(tmp_path, in_file, own, words):
    def net(kwargs):
        return TimmViT('vit_tiny_patch16_224', img_size=32,
                       model_kwargs=dict(dict(embed_dim=48, depth=1, num_heads=2), **kwargs))

    path = saved(net(in_file), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=f'a.pth has .*{words}.*the same model_name'):
        net(own).load_weights(path, 'backbone.')
    with pytest.raises(CheckpointError, match=words):
        net(own).inherit(net(in_file))
    assert net(in_file).load_weights(path, 'backbone.').matched


def test_another_attention_is_not_evaluated(tmp_path):
    """Softmax and linear networks have the same parameters; a score of one is none of the other."""
    from mmvitlin.engine.rules import check_whole
    softmax, linear, relu = (Whole(build('clip', **kwargs)) for kwargs in (
        {}, dict(attention='linear'),
        dict(attention='linear', linear_cfg=dict(feature_map='relu'))))
    for i, there in enumerate((softmax, linear, relu)):
        path = saved(there.backbone, tmp_path / 'a.pth')
        for j, here in enumerate((softmax, linear, relu)):
            if i == j:
                assert check_whole(here, path)
            else:
                with pytest.raises(CheckpointError, match='another backbone than this config: '
                                   '(attention|linear_cfg) is .* here and .* there'):
                    check_whole(here, path)


def test_focal_attention_runs_with_the_weights_of_softmax(tmp_path, monkeypatch):
    from mmvitlin.engine.rules import check_whole
    said = []
    monkeypatch.setattr('mmvitlin.engine.rules.context.print_log',
                        lambda text, **_: said.append(text))
    softmax, focal = (Whole(build('clip', attention=a)) for a in ('softmax', 'focal'))
    path = saved(softmax.backbone, tmp_path / 'a.pth')
    focal.load_state_dict(check_whole(focal, path))
    assert 'trained with softmax attention and is run with focal' in said[0]
    linear = Whole(build('clip', attention='linear'))
    path = saved(linear.backbone, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='attention is focal here and linear there. Give the'):
        check_whole(focal, path)


class Whole(torch.nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone


@pytest.mark.parametrize('family', ['clip', 'deit3', 'dinov2 registers', 'siglip'])
def test_positions_of_oblong_grids(family, tmp_path):
    """A grid of 2x8 is as many as 4x4, and 3x5 is no square: the file says which it was."""
    name, _ = FAMILIES[family]
    side = 14 if '14' in name else 16

    def net(rows, columns, **kwargs):
        return TimmViT(name, img_size=(rows * side, columns * side),
                       model_kwargs=dict(embed_dim=48, depth=1, num_heads=3), **kwargs).eval()

    for grid in ((2, 8), (3, 5)):
        source = net(*grid)
        torch.nn.init.normal_(source.vit.pos_embed)
        path = saved(source, tmp_path / 'a.pth')
        same = net(*grid)
        same.load_weights(path, 'backbone.')
        assert torch.equal(same.vit.pos_embed, source.vit.pos_embed)
        student = net(*grid, attention='linear')
        student.inherit(source)
        assert torch.equal(student.vit.pos_embed, source.vit.pos_embed)
        prefix = source.vit.pos_embed.shape[1] - grid[0] * grid[1]
        expected = resize_positions(source.vit.pos_embed[:, prefix:], grid, (4, 4))
        loaded, student = net(4, 4), net(4, 4)
        loaded.load_weights(path, 'backbone.')
        student.inherit(source)
        for other in (loaded, student):
            torch.testing.assert_close(other.vit.pos_embed[:, prefix:], expected)
            assert torch.equal(other.vit.pos_embed[:, :prefix], source.vit.pos_embed[:, :prefix])
    with pytest.raises(CheckpointError, match='15 patches are of no square'):
        net(4, 4).load_weights(saved(net(3, 5), tmp_path / 'b.pth', describe=False), 'backbone.')


def test_networks_that_are_no_plain_vits():
    with pytest.raises(TypeError, match='without one ordinary attention each'):
        TimmViT('vit_small_patch16_18x2_224', model_kwargs=dict(depth=1))
    with pytest.raises(TypeError, match='without one ordinary attention each'):
        TimmViT('vit_tiny_patch16_224', model_kwargs=dict(depth=1, attn_layer='diff'))


def test_clip_weights_keep_their_activation():
    with pytest.raises(ConfigError, match="take 'vit_base_patch16_clip_quickgelu_224.openai'"):
        TimmViT('vit_base_patch16_clip_224.openai', pretrained=True)


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('linear_cfg', [None, {}, dict(normalize=False, output_gate=True),
                                        dict(feature_map='hedgehog'), dict(conv_kernel=3)])
def test_inference_over_tiles_is_the_same(family, linear_cfg, monkeypatch):
    """Tiles that cut prefix tokens and rotary angles, at layers in between too."""
    monkeypatch.setattr('mmvitlin.models.backbones.timm_blocks._TILE', 3)
    net = build(family, attention='softmax' if linear_cfg is None else 'linear',
                linear_cfg=linear_cfg or {})
    images = torch.randn(2, 3, 3 * net.patch_size, 5 * net.patch_size)
    expected = net.forward_tokens(images, [0, 2, 1])
    calls = []
    monkeypatch.setattr('mmvitlin.models.backbones.timm_vit.stream_block_',
                        lambda *a, **kw: calls.append(1) or stream_block_(*a, **kw))
    with torch.no_grad():
        actual = net.forward_tokens(images, [0, 2, 1])
    assert len(calls) == 3
    for a, b in zip(expected, actual, strict=True):
        torch.testing.assert_close(a.patches, b.patches, atol=2e-4, rtol=1e-3)
        if a.cls is not None:
            torch.testing.assert_close(a.cls, b.cls, atol=2e-4, rtol=1e-3)
    handle = net.vit.blocks[1].attn.register_forward_hook(lambda *a: None)
    with torch.no_grad():
        net.forward_tokens(images)
    handle.remove()
    assert len(calls) == 3 + 2  # a block with hooks runs as it is


@pytest.mark.parametrize('feature_map', ['elu', 'focused', 'hedgehog'])
@pytest.mark.parametrize('amp', [False, True])
def test_training_keeps_no_mapped_queries_and_keys(feature_map, amp):
    """Its input, queries, keys and values, the input of the last projection, and no more."""
    torch.manual_seed(0)
    net = build('augreg', attention='linear', linear_cfg=dict(feature_map=feature_map))
    layer = net.vit.blocks[0].attn.train()
    x = torch.randn(2, 256, 48, requires_grad=True)
    weights, kept = {p.untyped_storage().data_ptr() for p in layer.parameters()}, {}

    def keep(t):
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage()  # kept, so that it is not reused
        return t

    def grads(attend, hooks=None):
        with hooks or nullcontext(), torch.autocast('cpu', torch.bfloat16, enabled=amp):
            y = attend()
        return torch.autograd.grad(y.float().square().sum(), [x, *layer.parameters()])

    def plainly():
        q, k, v = layer.queries_keys_values(x, None)
        mixed = linear_attention(layer.map_q(q), layer.map_k(k), v)
        return layer.project(mixed.transpose(1, 2).flatten(2), x)

    actual = grads(lambda: layer(x), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t))
    size = sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in weights)
    cast = sum(p.numel() * 2 for p in layer.parameters()) if amp else 0
    assert size <= 5.1 * x.numel() * (2 if amp else 4) + cast
    for result, expected in zip(actual, grads(plainly), strict=True):
        torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_a_pass_leaves_the_network_unchanged():
    """Grids are arguments: no module keeps one, and other sizes in between change nothing."""
    def settings(net):
        return [{k: v for k, v in vars(m).items() if not k.startswith('_')}
                for m in net.modules()]

    net = build('dinov2 registers', attention=['linear', 'window', 'linear'],
                linear_cfg=dict(conv_kernel=3), window=2).eval()
    before = settings(net)
    wide, tall = torch.randn(1, 3, 28, 56), torch.randn(1, 3, 56, 28)
    alone = [net(images)[0] for images in (wide, tall)]
    assert settings(net) == before
    net(tall)
    assert torch.equal(net(wide)[0], alone[0])
    with pytest.raises(RuntimeError, match='needs the grid'):
        net.vit.blocks[1].attn(torch.randn(1, 13, 48))
