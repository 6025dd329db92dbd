"""Networks of timm of any shape as teachers: maps, grids, weights, refusals."""
import math
import re

import pytest
import timm
import torch
import torch.nn.functional as F

from mmvitlin.models import (
    AttentionAlignment,
    CachedTeacher,
    FeatureAlignment,
    FrozenTeacher,
    ShardedTeacher,
    TimmFeatures,
    TimmViT,
    Tokens,
    ViTLinearizer,
)
from mmvitlin.models.teachers import tokens_on_grid
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import CheckpointError, ConfigError

FOUR = dict(depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1))
CONVNEXT = dict(model_name='convnext_atto', model_kwargs=dict(depths=(1, 1, 1, 1),
                                                             dims=(8, 16, 24, 32)))
SAM = dict(model_name='samvit_base_patch16', model_kwargs=dict(
    img_size=64, embed_dim=24, depth=3, num_heads=2, neck_chans=16, global_attn_indexes=(1, ),
    window_size=2))
# config → widths of the layers, strides of their maps, size at which 48×80 is shown
NETWORKS = dict(
    convnext=(CONVNEXT, (8, 16, 24, 32), (4, 8, 16, 32), (64, 96)),
    swin=(dict(model_name='swin_tiny_patch4_window7_224', model_kwargs=dict(
        img_size=64, window_size=4, embed_dim=8, **FOUR)), (8, 16, 32, 64), (4, 8, 16, 32),
          (64, 64)),
    hiera=(dict(model_name='hiera_tiny_224', model_kwargs=dict(
        img_size=64, embed_dim=8, stages=(1, 1, 1, 1))), (8, 16, 32, 64), (4, 8, 16, 32), (64, 64)),
    sam=(SAM, (24, 24, 16), (16, 16, 16), (48, 80)),
    sam2=(dict(model_name='sam2_hiera_tiny', model_kwargs=dict(embed_dim=8, stages=(1, 1, 1, 1))),
          (8, 16, 32, 64), (4, 8, 16, 32), (64, 96)),
    davit=(dict(model_name='davit_tiny', model_kwargs=dict(embed_dims=(8, 16, 24, 32), **FOUR)),
           (8, 16, 24, 32), (4, 8, 16, 32), (64, 96)),
    radio=(dict(model_name='naflexvit_base_patch16_radio_v3', model_kwargs=dict(
        embed_dim=48, depth=2, num_heads=3)), (48, 48), (16, 16), (48, 80)),
    mixer=(dict(model_name='mlp_mixer.MlpMixer', img_size=(64, 96), model_kwargs=dict(
        patch_size=16, embed_dim=24, num_blocks=2)), (24, 24), (16, 16), (64, 96)),
)
STUDENT = dict(type='mmvitlin.Adventurer', arch=dict(embed_dims=32, num_layers=4), img_size=64)


def teacher(cfg, **kwargs):
    return FrozenTeacher(dict(type='mmvitlin.TimmFeatures', **cfg), **kwargs)


@pytest.mark.parametrize('name', NETWORKS)
def test_every_layer_comes_to_the_students_grid(name):
    cfg, widths, strides, size = NETWORKS[name]
    network = TimmFeatures(**cfg).eval()
    assert (network.num_layers, network.layer_dims) == (len(widths), widths)
    assert network.input_size((48, 80)) == size
    depth = range(network.num_layers)
    with torch.no_grad():
        tokens = network.forward_tokens(torch.randn(1, 3, *size), depth)
    assert [t.grid for t in tokens] == [tuple(n // s for n in size) for s in strides]
    frozen = teacher(cfg)
    assert (frozen.layer_dims, frozen.embed_dims, frozen.has_cls) == (widths, widths[-1], False)
    for t, width in zip(frozen.forward_tokens(torch.randn(2, 3, 48, 80), depth, (3, 5)), widths,
                        strict=True):
        assert (t.patches.shape, t.cls, t.grid) == ((2, 15, width), None, (3, 5))


@pytest.mark.parametrize(('name', 'last'), [
    ('convnext', lambda net, x: net.head.norm(net.forward_features(x))),
    ('swin', lambda net, x: net.forward_features(x).permute(0, 3, 1, 2)),
    ('sam', lambda net, x: net.forward_features(x))])
def test_the_last_layer_is_timms_own(name, last):
    cfg, *_, size = NETWORKS[name]
    images = torch.randn(1, 3, *size)
    torch.manual_seed(0)
    net = timm.create_model(cfg['model_name'], **cfg['model_kwargs']).eval()
    torch.manual_seed(0)
    features = TimmFeatures(**cfg).eval()
    state = {k: v for k, v in net.state_dict().items() if not k.startswith('head.fc')}
    features.body.load_state_dict(features.body._from_any_layout(state))
    with torch.no_grad():
        tokens, = features.forward_tokens(images)
        torch.testing.assert_close(tokens.featmap(), last(net, images), atol=1e-5, rtol=1e-5)


def test_a_size_that_the_user_gives():
    """Swin is built for it; SAM's file stays of 64 pixels, as its positions are."""
    swin = NETWORKS['swin'][0]
    swin = dict(swin, model_kwargs={k: v for k, v in swin['model_kwargs'].items()
                                    if k != 'img_size'}, img_size=(32, 64))
    for cfg, grid in ((swin, (1, 2)), (dict(SAM, img_size=(32, 64)), (2, 4)),
                      (dict(CONVNEXT, img_size=96), (3, 3))):
        network = TimmFeatures(**cfg)
        size = network.input_size((48, 80))
        assert size == ((96, 96) if cfg['model_name'] == 'convnext_atto' else (32, 64))
        assert network.forward_tokens(torch.randn(1, 3, *size))[0].grid == grid
    with pytest.raises(ValueError, match='scale=2 has no effect on a network that sees every image '
                                         'at 32×64'):
        teacher(dict(SAM, img_size=(32, 64)), scale=2)
    assert TimmFeatures(**SAM, img_size=32).body.net.pos_embed.shape == (1, 4, 4, 24)


def test_maps_are_pooled_or_interpolated_over_the_same_image():
    fine = torch.randn(2, 5, 8, 12)
    tokens = Tokens(fine.flatten(2).transpose(1, 2), None, (8, 12))
    pooled = tokens_on_grid(tokens, (4, 6))
    torch.testing.assert_close(pooled.featmap(), F.avg_pool2d(fine, 2))
    assert tokens_on_grid(tokens, (8, 12)) is tokens
    # a ramp from left to right stays one, at the centres of the finer patches
    ramp = (torch.arange(4.) + 0.5)[None, None, None].expand(1, 1, 2, 4)
    finer = tokens_on_grid(Tokens(ramp.flatten(2).transpose(1, 2), None, (2, 4)), (4, 8))
    expected = ((torch.arange(8.) + 0.5) / 2).clamp(0.5, 3.5)
    torch.testing.assert_close(finer.featmap()[0, 0], expected.expand(4, 8))


def test_images_of_odd_sizes_are_shown_whole():
    """Resized to whole strides, not padded: a mark in the corner stays in the corner."""
    frozen = teacher(CONVNEXT)
    images = torch.zeros(1, 3, 48, 80)
    images[..., 40:, 72:] = 5
    plain, marked = (frozen.forward_tokens(x, 1, (3, 5))[0].featmap()
                     for x in (torch.zeros(1, 3, 48, 80), images))
    change = (marked - plain).norm(dim=1)[0]
    assert change.argmax() == 14


@pytest.mark.parametrize(('scale', 'side'), [(1, 32), (2, 64)])
def test_with_sizes_it_sees_the_students_size(scale, side):
    """Not that of the images that were loaded."""
    model = FeatureAlignment(STUDENT, dict(backbone=dict(type='mmvitlin.TimmFeatures', **CONVNEXT),
                                           scale=scale),
                             dict(feature=dict(type='mmvitlin.FeatureAlignmentLoss')), sizes=[32])
    seen, network = [], model.teacher.network
    run = network.forward_tokens
    network.forward_tokens = lambda images, layers: (seen.append(images.shape[-2:]),
                                                     run(images, layers))[1]
    model(torch.randn(1, 3, 128, 128), mode='loss')
    assert seen == [(side, side)]


@pytest.mark.parametrize('name', ['convnext', 'sam'])
@pytest.mark.parametrize('kind', ['linearizer', 'alignment', 'stages'])
def test_it_teaches(name, kind):
    backbone = dict(type='mmvitlin.TimmFeatures', **NETWORKS[name][0])
    if kind == 'alignment':
        model = FeatureAlignment(STUDENT, dict(backbone=backbone))
    elif kind == 'stages':  # of different widths
        model = FeatureAlignment(STUDENT, dict(backbone=backbone), dict(stages=dict(
            type='mmvitlin.FeatureAlignmentLoss', layers=[1, 3], teacher_layers=[0, -1],
            projector='linear')))
    else:
        model = ViTLinearizer(STUDENT, dict(backbone=backbone), dict(
            activation=dict(type='mmvitlin.ActivationMatchingLoss', num_stages=2),
            mask=dict(type='mmvitlin.MaskedPredictionLoss')), mask_ratio=0.5)
    losses = model(torch.randn(2, 3, 64, 64), mode='loss')
    sum(losses.values()).backward()
    assert all(torch.isfinite(v) for v in losses.values())
    assert not any(k.startswith('teacher') for k in model.state_dict())
    assert all(p.grad is None for p in model.teacher.network.parameters())


def test_what_needs_attention_or_a_class_token_is_refused():
    convnext = dict(backbone=dict(type='mmvitlin.TimmFeatures', **CONVNEXT))
    linear = dict(type='mmvitlin.TimmViT', model_name='vit_tiny_patch16_224', img_size=64,
                  attention='linear', model_kwargs=dict(embed_dim=48, depth=2, num_heads=3))
    with pytest.raises(TypeError, match='TimmViT cannot inherit the weights of a TimmFeatures'):
        AttentionAlignment(linear, convnext)
    with pytest.raises(TypeError, match='between two mmvitlin.TimmViT, got TimmViT and TimmFeat'):
        AttentionAlignment(linear, convnext, inherit=False)
    loss = dict(type='mmvitlin.FeatureAlignmentLoss', tokens='cls')
    with pytest.raises(ConfigError, match='^objectives.cls: compares class tokens, and the teacher '
                                          'has none; compare patches'):
        FeatureAlignment(STUDENT, convnext, dict(cls=loss))
    with pytest.raises(ValueError, match='shard=True is for a mmvitlin.TimmViT'):
        ShardedTeacher(convnext['backbone'])
    with pytest.raises(TypeError, match=r'no single token grid.*mmvitlin.TimmFeatures'):
        FrozenTeacher(dict(type='mmpretrain.ConvNeXt', arch='atto'))


def test_features_in_a_cache_serve_any_grid(tmp_path):
    torch.manual_seed(0)
    plain = teacher(CONVNEXT)
    torch.manual_seed(0)
    cached = CachedTeacher(dict(type='mmvitlin.TimmFeatures', **CONVNEXT), cache=str(tmp_path))
    images = torch.randn(2, 3, 64, 64)
    for grid in ((4, 4), (8, 8)):
        for one, two in zip(plain.forward_tokens(images, (0, 3), grid),
                            cached.forward_tokens(images, (0, 3), grid), strict=True):
            torch.testing.assert_close(one.patches, two.patches)
    assert (cached.cache.hits, cached.cache.misses) == (2, 2)


def facebook_convnext(state):
    """timm's names in Facebook's, as EUPE's ConvNeXts have them, with their heads."""
    released = {'projectors.a.weight': torch.zeros(3, 3), 'norms.3.weight': torch.zeros(3)}
    for key, value in state.items():
        key = key.replace('head.norm', 'norm').replace('stem.', 'downsample_layers.0.')
        key = re.sub(r'stages\.(\d)\.blocks\.', r'stages.\1.', key)
        key = re.sub(r'stages\.(\d)\.downsample', r'downsample_layers.\1', key)
        key = key.replace('conv_dw', 'dwconv').replace('mlp.fc', 'pwconv')
        released[key] = value
    return released


def metas_sam(state):
    """timm's names in those of Meta's Segment Anything, with a decoder."""
    released = {f"image_encoder.{k.replace('mlp.fc', 'mlp.lin')}": v for k, v in state.items()}
    return dict(released, **{'mask_decoder.iou_token.weight': torch.zeros(1, 256)})


@pytest.mark.parametrize(('cfg', 'layout'), [
    (CONVNEXT, facebook_convnext), (CONVNEXT, dict), (SAM, metas_sam), (SAM, dict)])
def test_weights_from_their_makers_files(tmp_path, cfg, layout):
    net = timm.create_model(cfg['model_name'], num_classes=0, **cfg['model_kwargs']).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    torch.save(layout(net.state_dict()), tmp_path / 'a.pth')
    frozen = teacher(cfg, checkpoint=str(tmp_path / 'a.pth'))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = net.forward_features(images)
        expected = net.head.norm(expected) if cfg is CONVNEXT else expected
    actual, = frozen.forward_tokens(images, -1, tuple(expected.shape[-2:]))
    torch.testing.assert_close(actual.featmap(), expected, atol=1e-5, rtol=1e-5)
    # its makers'
    assert [round(float(v), 3) for v in frozen.normalisation.std] == [58.395, 57.12, 57.375]


def test_a_students_file_teaches_and_another_network_is_refused(tmp_path):
    student = MODELS.build(dict(type='mmvitlin.TimmBackbone', **CONVNEXT))
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in student.state_dict().items()}),
               tmp_path / 'student.pth')
    frozen = teacher(CONVNEXT, checkpoint=str(tmp_path / 'student.pth'))
    assert frozen.normalisation is None  # that of the run
    for key, value in student.state_dict().items():
        assert torch.equal(value, frozen.network.body.state_dict()[key])
    wide = dict(CONVNEXT, model_kwargs=dict(CONVNEXT['model_kwargs'], dims=(8, 16, 24, 40)))
    with pytest.raises(CheckpointError, match='student.pth does not fit TimmBackbone: .*mismatche'):
        teacher(wide, checkpoint=str(tmp_path / 'student.pth'))


def radio(state, side):
    """timm's names in those of NVIDIA's RADIO; positions of a square of 128 patches are many."""
    prefix, released = 'radio_model.model.', {
        'radio_model.input_conditioner.norm_mean': torch.zeros(3, 1, 1)}
    width = state['cls_token'].shape[-1]
    generator = f'{prefix}patch_generator.'
    released[f'{generator}embedder.weight'] = state['patch_embed.proj.weight'].flatten(1)
    released[f'{generator}pos_embed'] = torch.randn(1, side**2, width)
    released[f'{generator}cls_token.token'] = torch.cat([state['cls_token'], state['reg_token']],
                                                        dim=1)[0]
    released.update({prefix + k.replace('.gamma', '.grandma'): v for k, v in state.items()
                     if k.startswith('blocks.')})
    return released


def eupe(state, side):
    """timm's names in those of Meta's DINOv3, with EUPE's heads."""
    released = {'projectors.a.weight': torch.zeros(3, 3), 'rope_embed.periods': torch.zeros(4),
                'mask_token': torch.zeros(1, 48)}
    for key, value in state.items():
        key = key.replace('gamma_1', 'ls1.gamma').replace('gamma_2', 'ls2.gamma')
        if 'q_bias' in key:
            value = torch.cat([value, torch.zeros_like(value),
                               state[key.replace('q_bias', 'v_bias')]])
        if not key.endswith(('v_bias', 'k_bias')) and 'rope' not in key:
            name = key.replace('q_bias', 'qkv.bias').replace('reg_token', 'storage_tokens')
            released[name] = value
    return released


@pytest.mark.parametrize(('name', 'layout'), [
    ('vit_base_patch16_radio_v3', radio), ('vit_large_patch16_radio_v3', radio),
    ('vit_small_patch16_dinov3_qkvb', eupe)])
def test_radio_and_eupe_towers_load_as_in_timm(tmp_path, name, layout):
    small = dict(embed_dim=48, depth=2, num_heads=3)
    net = timm.create_model(name, num_classes=0, img_size=64, **small)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    torch.save(layout(net.state_dict(), 8), tmp_path / 'a.pth')
    timms = timm.create_model(name, pretrained=True, num_classes=0, img_size=(64, 96), **small,
                              pretrained_cfg_overlay=dict(file=str(tmp_path / 'a.pth'), url=None,
                                                          hf_hub_id=None)).eval()
    actual = TimmViT(name, img_size=(64, 96), model_kwargs=small,
                     checkpoint=str(tmp_path / 'a.pth')).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = timms.forward_features(images)
        tokens, = actual.forward_tokens(images)
    torch.testing.assert_close(tokens.cls, expected[:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tokens.patches, expected[:, -math.prod(tokens.grid):], atol=1e-5,
                               rtol=1e-4)
