"""The linear ViT: inherited weights, options that start as nothing, hybrids."""
import pytest
import torch

from mmvitlin.models import TimmViT
from mmvitlin.models.layers import HedgehogMap, LinearAttention
from mmvitlin.ops import linear_attention_reference
from mmvitlin.ops.linear_attention import elu_feature
from tests.models.test_timm_vit import FAMILIES, build


def by_the_book(attn: LinearAttention, x, rope=None):
    q, k, v = attn.queries_keys_values(x, rope)
    y = linear_attention_reference(elu_feature(q), elu_feature(k), v)
    y = attn.norm(y.transpose(1, 2).flatten(2))
    if getattr(attn, 'gate', None) is not None:
        y = y * attn.gate(x).sigmoid()
    return attn.proj(y)


@pytest.mark.parametrize('family', FAMILIES)
def test_it_equals_the_naive_formula(family, monkeypatch):
    net = build(family, attention='linear')
    images = torch.randn(1, 3, 3 * net.patch_size, 5 * net.patch_size)
    fast, = net.forward_tokens(images)
    monkeypatch.setattr(LinearAttention, 'forward',
                        lambda self, x, rope=None, **_: by_the_book(self, x, rope))
    slow, = net.forward_tokens(images)
    torch.testing.assert_close(fast.patches, slow.patches, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize('family', FAMILIES)
def test_it_has_the_very_parameters_of_its_softmax_twin(family):
    softmax, linear = build(family), build(family, attention='linear')
    assert {k: v.shape for k, v in softmax.state_dict().items()} == \
        {k: v.shape for k, v in linear.state_dict().items()}
    linear.load_state_dict(softmax.state_dict())
    images = torch.randn(1, 3, 4 * softmax.patch_size, 4 * softmax.patch_size)
    x = torch.randn(1, 9, 48)
    a, b = softmax.vit.blocks[0].attn, linear.vit.blocks[0].attn
    if getattr(a, 'qkv', None) is not None and 'rotary' not in family:
        q, k, v = b.queries_keys_values(x, None)
        want = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        torch.testing.assert_close(a(x), a.proj(a.norm(want.transpose(1, 2).flatten(2))))
    assert not torch.allclose(softmax(images)[0], linear(images)[0], atol=1e-3, rtol=1e-3)


def test_convolution_and_gate_start_as_nothing_and_then_act():
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
    attn.grid = (3, 4)
    with torch.no_grad():
        attn.conv.weight.zero_()
        attn.conv.bias.zero_()
        attn.conv.weight[:, :, 2, 1] = 1  # takes the value one row below
    v = torch.randn(2, 3, 5 + 12, 16)
    local = attn._local(v)
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
