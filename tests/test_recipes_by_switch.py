"""Recipes that are a config and a switch or an option build their models."""
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmvitlin.compat import detection
from mmvitlin.engine.runner.config import load_config
from mmvitlin.models.layers import LinearAttention
from tests.conftest import ROOT
from tests.test_configs import without_weights

ADVENTURERS = [f'configs/distill/linearizer_adventurer-{size}_in1k-224.py' for size in
      ('tiny', 'small', 'large')] + ['configs/distill/linearizer_adventurer-base_in1k-448.py']
MASK2FORMER = [f'configs/seg/mask2former_linear-vit-large_{stage}.py'
               for stage in ('ade20k-512', 'cityscapes-1024')]
KINDS = ['configs/distill/adala-attention_{}-dinov2-large_coco-448.py',
         'configs/distill/adala-feature_{}-dinov2-large_in1k-448.py',
         'configs/seg/upernet_{}-vit-large_cityscapes-1024.py']


@pytest.mark.parametrize(('path', 'options'), [
    *((path, {'switches': name}) for path in ADVENTURERS for name in ('l2', 'phi_s')),
    *((path, {'switches': name}) for path in MASK2FORMER for name in
      ('clip_large', 'siglip_large', 'softmax', 'focal')),
    *((path.format(kind), {}) for path in KINDS for kind in ('conv', 'hybrid'))])
def test_recipes_by_switch_build(path, options, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = load_config(path, options)
    without_weights(cfg.model)
    if 'mask2former' in path and detection.lacking():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    if options.get('switches') in ('l2', 'phi_s'):
        assert list(model.objectives) == ['feature']
        layers = [1.0] if options['switches'] == 'l2' else [0.25, 0.5, 0.75, 1.0]
        assert cfg.model.objectives.feature.get('layers', [1.0]) == layers
    if not options:
        layers = [block.attn for block in model.backbone.vit.blocks]
        softmax = [n for n, attn in enumerate(layers) if not isinstance(attn, LinearAttention)]
        assert softmax == ([11, 23] if 'hybrid' in path else [])
        assert all((attn.conv is not None) == ('conv-' in path) for attn in layers
                   if isinstance(attn, LinearAttention))
