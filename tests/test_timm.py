"""Adventurer through timm's interface."""
import pytest
import timm
import torch
from timm.models import group_parameters

import mmvitlin.timm
from mmvitlin.models import Adventurer
from mmvitlin.utils.errors import CheckpointError

NAME = 'adventurer_tiny_patch16_224'
ALL = [f'adventurer_{size}_patch16_224' for size in Adventurer.ARCHS]


def create(**kwargs):
    return timm.create_model(NAME, **{'img_size': 64, **kwargs}).eval()


def test_timm_knows_them():
    assert sorted(timm.list_models('adventurer*')) == sorted(ALL)
    assert mmvitlin.timm.default_cfgs[NAME].default.classifier == 'head'


@pytest.mark.parametrize('name', ALL)
def test_widths(name):
    with torch.device('meta'):
        net = timm.create_model(name)
    arch = Adventurer.ARCHS[name.split('_')[1]]
    assert net.num_features == arch['embed_dims']
    assert len(net.feature_info) == arch['num_layers']
    assert net.pretrained_cfg['input_size'] == (3, 224, 224)
    assert net.get_parameter(f"{net.pretrained_cfg['classifier']}.weight").shape[0] == 1000
    assert net.get_submodule(net.pretrained_cfg['first_conv']).in_channels == 3


@torch.inference_mode()
@pytest.mark.parametrize('pool', ['token', 'avg'])
def test_forward_at_any_size(pool):
    net = create(num_classes=7, global_pool=pool)
    for size in ((64, 64), (96, 50)):
        images = torch.randn(2, 3, *size)
        logits = net(images)
        assert logits.shape == (2, 7)
        assert torch.isfinite(logits).all()
        features = net.forward_features(images)
        torch.testing.assert_close(net.forward_head(features), logits)
        assert net.forward_head(features, pre_logits=True).shape == (2, net.head_hidden_size)


@torch.inference_mode()
def test_classifiers_change():
    net, images = create(num_classes=5), torch.randn(1, 3, 64, 64)
    net.reset_classifier(3)
    assert net(images).shape == (1, 3)
    assert net.get_classifier().out_features == 3
    net.reset_classifier(0)
    assert net(images).shape == (1, net.num_features)
    net.reset_classifier(0, '')
    assert net(images).shape == (1, 17, net.num_features)
    with pytest.raises(ValueError, match='global_pool'):
        net.reset_classifier(2, 'max')
    assert create(num_classes=0)(images).shape == (1, net.num_features)


def test_gradients_reach_every_parameter():
    net = create(num_classes=4).train()
    net.set_grad_checkpointing()
    net(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []


@torch.inference_mode()
def test_features_only():
    net = timm.create_model(NAME, features_only=True, out_indices=(1, 5, 11), img_size=64).eval()
    assert net.feature_info.channels() == [256] * 3
    assert net.feature_info.reduction() == [16] * 3
    assert [m.shape for m in net(torch.randn(1, 3, 64, 96))] == [(1, 256, 4, 6)] * 3


@torch.inference_mode()
def test_intermediates():
    net, images = create(), torch.randn(1, 3, 64, 80)
    final, maps = net.forward_intermediates(images, indices=[2, 11], norm=True)
    torch.testing.assert_close(final, net.forward_features(images))
    torch.testing.assert_close(maps[1].flatten(2).transpose(1, 2), final[:, :-1])
    raw, = net.forward_intermediates(images, 1, intermediates_only=True, output_fmt='NLC')
    torch.testing.assert_close(net.backbone.norm_f(raw), final[:, :-1])
    patches, cls = net.forward_intermediates(images, [2], stop_early=True, norm=True,
                                             return_prefix_tokens=True)[1][0]
    assert patches.shape == (1, 256, 4, 5)
    assert cls.shape == (1, 1, 256)
    torch.testing.assert_close(patches, maps[0])
    kept = net.prune_intermediate_layers([2])
    assert kept == [2]
    assert len(net.backbone.layers) == 3
    torch.testing.assert_close(net.forward_intermediates(images, [2], norm=True)[1][0], maps[0])


def test_groups_for_layer_decay():
    net = create(num_classes=4)
    groups = group_parameters(net, net.group_matcher(), reverse=True)
    assert groups['backbone.patch_embed.proj.weight'] == 0
    assert groups['backbone.layers.0.norm.weight'] == 1
    assert groups['backbone.layers.11.norm.weight'] == 12
    assert groups['head.weight'] >= 13
    assert 'backbone.layers.0.mixer.A_log' in net.no_weight_decay()


@pytest.mark.parametrize('layout', ['student', 'released', 'mmpretrain'])
def test_our_checkpoints_load(tmp_path, layout):
    schedule = 'released' if layout == 'released' else 'alternate'
    source = Adventurer('tiny', img_size=96, flip_schedule=schedule)
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    state = source.state_dict()
    if layout != 'released':
        state = {f'backbone.{k}': v for k, v in state.items()}
    if layout == 'released':
        state.update({'head.weight': torch.randn(9, 256), 'head.bias': torch.zeros(9)})
    if layout == 'mmpretrain':
        state.update({'head.fc.weight': torch.randn(9, 256), 'head.fc.bias': torch.zeros(9)})
    torch.save({'model' if layout == 'released' else 'state_dict': state}, tmp_path / 'a.pth')
    classes = 9 if layout == 'mmpretrain' else 0
    if layout == 'released':  # other directions than a model has unless it is told
        with pytest.raises(CheckpointError, match=r'blocks \[2, 3\] reversed.*set flip_schedule'):
            timm.create_model(NAME, pretrained=True, num_classes=0, img_size=96,
                              pretrained_cfg_overlay=dict(file=str(tmp_path / 'a.pth')))
    net = timm.create_model(NAME, pretrained=True, num_classes=classes, img_size=96,
                            flip_schedule=schedule, pretrained_cfg_overlay=dict(
                                file=str(tmp_path / 'a.pth'), num_classes=classes)).eval()
    images = torch.randn(1, 3, 96, 64)
    with torch.inference_mode():
        expected = source.eval().forward_tokens(images)[0].cls
        torch.testing.assert_close(net.forward_head(net.forward_features(images), True), expected)
    if layout == 'mmpretrain':
        torch.testing.assert_close(net.head.weight.data, state['head.fc.weight'])


def test_positions_of_a_wide_student(tmp_path):
    source = Adventurer('tiny', img_size=(64, 256))
    torch.nn.init.normal_(source.pos_embed)
    torch.save(dict(meta=dict(backbone=source.describe()), state_dict={
        f'backbone.{k}': v for k, v in source.state_dict().items()}), tmp_path / 'a.pth')
    expected = Adventurer('tiny', img_size=128)
    expected.load_weights(tmp_path / 'a.pth')
    net = timm.create_model(NAME, pretrained=True, num_classes=0, img_size=128,
                            pretrained_cfg_overlay=dict(file=str(tmp_path / 'a.pth'),
                                                        num_classes=0))
    assert torch.equal(net.backbone.pos_embed, expected.pos_embed)


def test_grey_images_are_refused():
    with pytest.raises(ValueError, match='3 channels'):
        timm.create_model(NAME, in_chans=1)


@pytest.mark.parametrize(('options', 'size', 'ratio'), [
    ({}, 224, 0.875), (dict(img_size=448), 448, 1.0), (dict(patch_size=8), 224, 1.0),
    (dict(img_size=128), 128, 0.875)])
def test_it_is_evaluated_as_published(options, size, ratio):
    with torch.device('meta'):
        net = timm.create_model(NAME, **options)
    data = timm.data.resolve_model_data_config(net)
    assert (data['crop_pct'], data['input_size']) == (ratio, (3, size, size))
