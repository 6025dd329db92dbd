"""Recipes that are a config and a switch or an option build their models."""
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmvitlin.compat import detection
from mmvitlin.engine.runner.config import load_config
from tests.conftest import ROOT
from tests.test_configs import without_weights

L2 = [f'configs/distill/linearizer_adventurer-{size}_in1k-224.py' for size in
      ('tiny', 'small', 'large')] + ['configs/distill/linearizer_adventurer-base_in1k-448.py']
MASK2FORMER = [f'configs/seg/mask2former_linear-vit-large_{stage}.py'
               for stage in ('ade20k-512', 'cityscapes-1024')]
HYBRID = ['configs/distill/adala-attention_dinov2-large_coco-448.py',
          'configs/seg/upernet_linear-vit-large_cityscapes-1024.py']


@pytest.mark.parametrize(('path', 'options'), [
    *((path, {'switches': 'l2'}) for path in L2),
    *((path, {'switches': name}) for path in MASK2FORMER for name in
      ('clip_large', 'siglip_large', 'softmax', 'focal')),
    *((path, {'model.backbone.softmax_layers': (11, 23)}) for path in HYBRID)])
def test_recipes_by_switch_build(path, options, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = load_config(path, options)
    without_weights(cfg.model)
    if 'mask2former' in path and detection.lacking():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    if options == {'switches': 'l2'}:
        assert list(model.objectives) == ['feature']
    if 'model.backbone.softmax_layers' in options:
        kinds = [type(block.attn).__name__ for block in model.backbone.vit.blocks]
        assert [n for n, kind in enumerate(kinds) if kind != 'LinearAttention'] == [11, 23]
