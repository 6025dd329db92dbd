"""Exported classifiers, segmentors with every head, and OpenVINO's own files."""
import os

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope

from mmvitlin.apis.export import Deployed, export, load_trained
from mmvitlin.apis.quantize import TorchRuntime
from mmvitlin.deploy import ExportedModel
from mmvitlin.engine.runner.config import load_config
from tests.apis.pictures import picture
from tests.conftest import ROOT

HEADS = ['upernet', 'segformer', 'linear', 'segmenter', 'eomt softmax', 'eomt linear',
         'eomt adventurer']


def deployed(cfg):
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    net = MODELS.build(cfg.model).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    whole = Deployed(net, [120.] * 3, [60.] * 3).eval()
    whole.config = cfg
    return whole


def test_a_classifier(tmp_path):
    pytest.importorskip('onnxscript', reason='writing ONNX needs onnxscript')
    cfg = load_config(str(ROOT / 'configs/cls/adventurer-pico_cifar10.py'), {
        'model.backbone.arch': dict(embed_dims=64, num_layers=2), 'model.backbone.init_cfg': None})
    net = deployed(cfg)
    report = export(net, tmp_path / 'a.onnx', 'onnx', (32, 32), dynamic=False)
    assert report.outputs == ('logits', )
    model = ExportedModel(tmp_path / 'a.onnx')
    result = model(picture(32, 32))
    with torch.inference_mode():
        logits, = net(torch.from_numpy(picture(32, 32)).permute(2, 0, 1)[None].float())
    np.testing.assert_allclose(result.scores, logits[0].double().softmax(0), atol=1e-4)
    assert len(model.classes) == 10
    assert result.labels is None


def test_openvino_s_own_files(segmentor, tmp_path):
    for module in ('onnxscript', 'openvino'):
        pytest.importorskip(module, reason=f'needs {module}')
    net = load_trained(*segmentor)
    report = export(net, tmp_path / 'a.xml', 'openvino', (64, 96), dynamic=False)
    assert report.error < 1e-4
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.bin', 'a.xml']
    model, expected = ExportedModel(tmp_path / 'a.xml'), ExportedModel(
        TorchRuntime(net, (64, 96), False))
    assert model.meta == expected.meta
    for size in ((64, 96), (100, 150)):
        assert np.mean(model(picture(*size)).labels != expected(picture(*size)).labels) < 2e-3


def with_head(name):
    """A segmentor of two narrow layers with a head."""
    kind, _, attention = name.partition(' ')
    backbone = dict(type='mmvitlin.TimmViT', model_name='vit_tiny_patch16_224', img_size=(64, 96),
                    model_kwargs=dict(embed_dim=32, depth=4, num_heads=2))
    if attention == 'adventurer':
        backbone = dict(type='mmvitlin.Adventurer', img_size=(64, 96),
                        arch=dict(embed_dims=64, num_layers=4))
    elif attention == 'linear':
        backbone['attention'] = 'linear'
    width, neck = (64 if attention == 'adventurer' else 32), None
    common = dict(num_classes=5, align_corners=False, norm_cfg=dict(type='BN'))
    if kind == 'eomt':
        backbone.update(out_type='stream', out_indices=2)
        head = dict(type='mmvitlin.EoMTHead', in_channels=width, num_classes=5, num_queries=7)
    elif kind in ('linear', 'segmenter'):
        backbone['out_indices'] = 3
        head = dict(common, in_channels=width, type='mmvitlin.LinearHead')
        if kind == 'segmenter':
            head = dict(type='SegmenterMaskTransformerHead', in_channels=width, channels=width,
                        num_classes=5, num_layers=1, num_heads=2, embed_dims=width,
                        dropout_ratio=0.)
    else:
        backbone['out_indices'] = (0, 1, 2, 3)
        neck = dict(type='mmvitlin.SimpleFPN', in_channels=width, out_channels=16,
                    strides=(4, 8, 16, 32))
        head = dict(common, in_channels=[16] * 4, in_index=[0, 1, 2, 3], channels=16,
                    type='SegformerHead')
        if kind == 'upernet':
            head.update(type='UPerHead', pool_scales=(1, 2))
    cfg = load_config(str(ROOT / 'configs/seg/fcn_vit-nano_streets.py'))
    for key, value in dict(backbone=backbone, neck=neck, decode_head=head).items():
        cfg.model[key] = value and ConfigDict(value)
    return deployed(cfg)


@pytest.mark.parametrize('name', [*HEADS[:1], *(pytest.param(
    n, marks=pytest.mark.skipif('MMVITLIN_LONG_TESTS' not in os.environ,
                                reason='takes minutes; set MMVITLIN_LONG_TESTS=1'))
    for n in HEADS[1:])])
def test_every_head(name, tmp_path):
    """As ONNX of one size, and moved over a larger image."""
    pytest.importorskip('onnxscript', reason='writing ONNX needs onnxscript')
    net = with_head(name)
    assert export(net, tmp_path / 'a.onnx', 'onnx', (64, 96), dynamic=False).error < 1e-4
    file, expected = ExportedModel(tmp_path / 'a.onnx', resize=False), ExportedModel(
        TorchRuntime(net, (64, 96), False), resize=False)
    for size in ((64, 96), (100, 150)):
        assert np.mean(file(picture(*size)).labels != expected(picture(*size)).labels) < 2e-3
