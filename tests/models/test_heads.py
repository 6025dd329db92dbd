"""Heads on our backbones, at sizes no stride divides."""
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from tests.conftest import ROOT


@pytest.mark.parametrize('head', ['upernet', 'conv1x1', 'segformer', 'segmenter'])
@pytest.mark.parametrize('backbone', ['adventurer', 'linear vit'])
def test_each_head_trains_and_predicts_at_another_size(head, backbone):
    init_default_scope('mmseg')
    cfg = Config.fromfile(ROOT / f'configs/_base_/models/{head}_adventurer-base.py').model
    cfg.data_preprocessor.size = (64, 96)
    single = cfg.backbone.out_indices == -1
    cfg.backbone = dict(type='mmvitlin.Adventurer', arch=dict(embed_dims=64, num_layers=4))
    if backbone == 'linear vit':
        cfg.backbone = dict(type='mmvitlin.TimmViT', model_name='vit_tiny_patch16_224',
                            attention='linear',
                            model_kwargs=dict(embed_dim=64, depth=4, num_heads=2))
    cfg.backbone.update(img_size=(64, 96), out_indices=-1 if single else (0, 1, 2, 3))
    if cfg.neck:
        cfg.neck.in_channels = 64
    if head != 'upernet':  # whose pyramid has a width of its own
        cfg.decode_head.in_channels = 64 if single else [64] * 4
    if head == 'segmenter':
        cfg.decode_head.update(channels=64, embed_dims=64, num_heads=2)
    net = MODELS.build(cfg)
    data = dict(inputs=[torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)] * 2)
    from tests.models.test_high_res import sample
    data['data_samples'] = [sample((64, 96)) for _ in range(2)]
    data = net.data_preprocessor(data, True)
    losses = net(data['inputs'], data['data_samples'], mode='loss')
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    missing = [n for n, p in net.backbone.named_parameters() if p.grad is None]
    assert all('norm' in n or 'cls' in n for n in missing), missing
    net.eval()
    with torch.no_grad():
        labels = net(torch.randn(1, 3, 75, 133), mode='predict')[0].pred_sem_seg.data
    assert labels.shape == (1, 75, 133)


def test_the_linear_head_takes_several_maps():
    init_default_scope('mmseg')
    head = MODELS.build(dict(type='mmvitlin.LinearHead', in_channels=[4, 6], in_index=[0, 1],
                             num_classes=3))
    maps = [torch.randn(2, 4, 8, 8), torch.randn(2, 6, 4, 4)]
    assert head(maps).shape == (2, 3, 8, 8)
    assert sum(p.numel() for p in head.parameters()) == 2 * 10 + 10 * 3 + 3


@pytest.mark.parametrize(('norm', 'kind'), [
    (None, torch.nn.BatchNorm2d), (dict(type='GN', num_groups=8), torch.nn.GroupNorm),
    (dict(type='SyncBN', eps=1e-3, requires_grad=False), torch.nn.SyncBatchNorm)])
def test_the_norm_of_a_linear_head(norm, kind):
    head = MODELS.build(dict(type='mmvitlin.LinearHead', in_channels=32, num_classes=5,
                             norm_cfg=norm))
    assert isinstance(head.bn, kind)
    assert head.bn.eps == (norm or {}).get('eps', 1e-5)
    assert head.bn.weight.requires_grad == (norm or {}).get('requires_grad', True)
