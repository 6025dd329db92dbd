"""TimmViT against timm itself, on tiny random weights of the real families."""
import pytest
import timm
import torch
from mmengine.registry import MODELS

from mmvitlin.models import TimmViT
from mmvitlin.utils.errors import ConfigError

SMALL = dict(embed_dim=48, depth=3, num_heads=3)
FAMILIES = {
    'augreg': ('vit_tiny_patch16_224.augreg_in21k', {}),
    'deit3': ('deit3_small_patch16_224.fb_in1k', {}),
    'clip': ('vit_base_patch16_clip_224.openai', {}),
    'dinov2 /14': ('vit_small_patch14_dinov2.lvd142m', {}),
    'dinov2 registers': ('vit_small_patch14_reg4_dinov2.lvd142m', {}),
    'siglip': ('vit_base_patch16_siglip_224.webli', {}),
    'eva02, rotary': ('eva02_tiny_patch14_224.mim_in22k', {}),
    'dinov3, rotary with registers': ('vit_small_patch16_dinov3.lvd1689m', {}),
}


def build(family, **kwargs):
    name, more = FAMILIES[family]
    net = TimmViT(name, img_size=56 if '14' in name else 64, model_kwargs={**SMALL, **more},
                  **kwargs)
    for name, p in net.named_parameters():  # timm starts LayerScale and biases near nothing
        peaked = 'attn' in name and ('q' in name or 'k_' in name)  # else attention is uniform
        scale = p.ndim == 1 and ('gamma' in name or 'norm' in name and name.endswith('weight'))
        torch.nn.init.normal_(p, mean=float(scale), std=0.4 if peaked else 0.1)
    return net.eval()


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('sides', [(4, 4), (3, 7)])
def test_features_are_timm_s(family, sides):
    net = build(family)
    images = torch.randn(2, 3, *(net.patch_size * s for s in sides))
    tokens, = net.forward_tokens(images)
    with torch.no_grad():
        expected = net.vit.forward_features(images)
    prefix = net.vit.num_prefix_tokens
    assert tokens.grid == sides
    torch.testing.assert_close(tokens.patches, expected[:, prefix:], atol=1e-5, rtol=1e-5)
    if net.has_cls:
        torch.testing.assert_close(tokens.cls, expected[:, 0], atol=1e-5, rtol=1e-5)
    else:
        assert tokens.cls is None
    inner, = net.forward_tokens(images, 1)
    expected, = net.vit.forward_intermediates(images, indices=[1], intermediates_only=True)
    torch.testing.assert_close(inner.featmap(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('family', ['clip', 'dinov2 /14'])
def test_sizes_the_patch_does_not_divide(family):
    net = build(family, out_indices=(0, 2))
    p = net.patch_size
    maps = net(torch.randn(1, 3, 2 * p + 3, 5 * p - 1))
    assert [tuple(m.shape) for m in maps] == [(1, 48, 3, 5)] * 2


def test_normalisation_is_that_of_the_weights():
    assert build('clip').mean == pytest.approx((122.77, 116.75, 104.09), abs=0.01)
    assert build('siglip').std == pytest.approx((127.5, ) * 3)


def test_masked_pixels_cannot_be_seen():
    net = build('clip')
    net.enable_masking()
    images = torch.randn(1, 3, 64, 64)
    changed = images.clone()
    changed[..., :16, :16] = 9
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, 0] = True
    a, b = (net.forward_tokens(x, -1, mask)[0].patches for x in (images, changed))
    assert torch.equal(a, b)


def test_layer_depth():
    net = build('dinov2 registers')
    groups = {n: net.get_layer_depth(n)[0] for n, _ in net.named_parameters()}
    assert groups['vit.patch_embed.proj.weight'] == groups['vit.reg_token'] == 0
    assert groups['vit.pos_embed'] == groups['vit.cls_token'] == 0
    assert groups['vit.blocks.2.attn.qkv.weight'] == 3
    assert groups['vit.norm.weight'] == 4


def test_files_of_timm_and_of_this_toolkit_load(tmp_path):
    net = build('augreg')
    timm_net = timm.create_model('vit_tiny_patch16_224', img_size=64, **SMALL).eval()
    torch.save({'state_dict': timm_net.state_dict()}, tmp_path / 'timm.pth')
    net.load_weights(tmp_path / 'timm.pth')
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(net.forward_tokens(images)[0].cls,
                               timm_net.forward_features(images)[:, 0], atol=1e-5, rtol=1e-5)
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in net.state_dict().items()} |
                {'decode_head.x': torch.ones(1)}}, tmp_path / 'whole.pth')
    again = TimmViT('vit_tiny_patch16_224', img_size=64, model_kwargs=SMALL,
                    checkpoint=str(tmp_path / 'whole.pth')).eval()
    torch.testing.assert_close(again(images)[0], net(images)[0])


def test_openai_s_own_clip_layout_loads(tmp_path):
    net = build('clip')
    state = {'visual.class_embedding': torch.randn(48),
             'visual.positional_embedding': torch.randn(17, 48),
             'visual.conv1.weight': torch.randn(48, 3, 16, 16),
             'visual.ln_pre.weight': torch.randn(48), 'visual.ln_pre.bias': torch.randn(48),
             'visual.ln_post.weight': torch.randn(48), 'visual.ln_post.bias': torch.randn(48)}
    for i in range(3):
        b = f'visual.transformer.resblocks.{i}.'
        state |= {b + 'attn.in_proj_weight': torch.randn(144, 48),
                  b + 'attn.in_proj_bias': torch.randn(144),
                  b + 'attn.out_proj.weight': torch.randn(48, 48),
                  b + 'attn.out_proj.bias': torch.randn(48),
                  b + 'mlp.c_fc.weight': torch.randn(192, 48),
                  b + 'mlp.c_fc.bias': torch.randn(192),
                  b + 'mlp.c_proj.weight': torch.randn(48, 192),
                  b + 'mlp.c_proj.bias': torch.randn(48)}
        state |= {b + f'ln_{j}.{k}': torch.randn(48) for j in (1, 2) for k in ('weight', 'bias')}
    torch.save(state, tmp_path / 'clip.pt')
    net.load_weights(tmp_path / 'clip.pt')
    assert torch.equal(net.vit.blocks[1].attn.qkv.weight,
                       state['visual.transformer.resblocks.1.attn.in_proj_weight'])


def test_bad_names_and_weights(tmp_path):
    with pytest.raises(ValueError, match="knows no model 'vit_bse_patch16_224'; the nearest"):
        TimmViT('vit_bse_patch16_224')
    with pytest.raises(TypeError, match="'resnet18' is no plain Vision Transformer"):
        TimmViT('resnet18')
    with pytest.raises(ValueError, match=r"attention must be .* got \['flash'\]"):
        TimmViT('vit_tiny_patch16_224', attention='flash')
    with pytest.raises(ValueError, match='attention names 3 layers, the network has 12'):
        TimmViT('vit_tiny_patch16_224', attention=['linear'] * 3)
    with pytest.raises(IndexError, match='there is no layer 12'):
        TimmViT('vit_tiny_patch16_224', attention='linear', softmax_layers=[12])
    with pytest.raises(ValueError, match="no class token; take out_type='avg_featmap'"):
        build('siglip', out_type='cls_token')
    torch.save({'conv.weight': torch.ones(2)}, tmp_path / 'other.pth')
    with pytest.raises(RuntimeError, match=r'other.pth does not fit TimmViT.*missing'):
        TimmViT('vit_tiny_patch16_224', checkpoint=str(tmp_path / 'other.pth'))


def test_loaded_weights_survive_the_start_of_training(tmp_path):
    """mmengine's init_weights walks into timm's own, which draws anew."""
    from mmengine.registry import MODELS
    for name in ('vit_tiny_patch16_224', 'eva02_tiny_patch14_224'):
        model = MODELS.build(dict(
            type='mmseg.EncoderDecoder', backbone=dict(
                type='mmvitlin.TimmViT', model_name=name, img_size=56,
                model_kwargs=dict(embed_dim=48, depth=2, num_heads=3)),
            decode_head=dict(type='mmseg.FCNHead', in_channels=48, channels=8, num_convs=1,
                             num_classes=3, norm_cfg=dict(type='BN'))))
        with torch.no_grad():
            for p in model.backbone.parameters():
                p.fill_(0.5)
        model.init_weights()
        assert all((p == 0.5).all() for p in model.backbone.parameters())
    source = TimmViT('vit_tiny_patch16_224', img_size=56, model_kwargs=dict(depth=2))
    torch.save(source.state_dict(), tmp_path / 'x.pth')
    net = TimmViT('vit_tiny_patch16_224', img_size=56, model_kwargs=dict(depth=2),
                  init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'x.pth')))
    net.init_weights()
    assert torch.equal(net.vit.norm.bias, source.vit.norm.bias)
    assert torch.equal(net.vit.blocks[1].mlp.fc1.weight, source.vit.blocks[1].mlp.fc1.weight)


def test_no_network_says_what_to_do(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError('no route to host')
    monkeypatch.setattr('timm.create_model', offline)
    with pytest.raises(RuntimeError, match='without network, download them elsewhere'):
        TimmViT('vit_tiny_patch16_224', pretrained=True)


@pytest.mark.parametrize('stages', [-1, 0, 2, 3])
def test_frozen_stages(stages):
    net = build('clip', frozen_stages=stages, drop_path_rate=0.1).train()
    groups = {n: net.get_layer_depth(n)[0] for n, _ in net.named_parameters()}
    for name, parameter in net.named_parameters():
        assert parameter.requires_grad == (stages < 3 and groups[name] > stages), name
    assert [block.training for block in net.vit.blocks] == [i >= stages for i in range(3)]
    y, = net(torch.randn(1, 3, 64, 64))
    assert y.requires_grad == (stages < 3)


def test_more_frozen_stages_than_there_are():
    with pytest.raises(ValueError, match='frozen_stages must be -1 to 3 for this TimmViT, got 4'):
        build('clip', frozen_stages=4)


def test_a_fetched_name_in_the_place_of_timms():
    with pytest.raises(ValueError, match="give it as checkpoint='mmvitlin::vit-small-14_saliency'"):
        TimmViT('mmvitlin::vit-small-14_saliency', attention='focal')


@pytest.mark.parametrize('kind', ['TimmViT', 'TimmBackbone'])
def test_a_file_is_no_pretrained(kind):
    """mmseg hands ``model.pretrained`` on to its backbone."""
    with pytest.raises(ConfigError, match="pretrained='a.pth' must be True or False"):
        MODELS.build(dict(type=f'mmvitlin.{kind}', model_name='vit_tiny_patch16_224',
                          pretrained='a.pth'))
