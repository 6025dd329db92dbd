"""Learning rates: of layers, and of batches."""
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.run_options import _count_accumulation


def test_layer_decay_decays():
    cfg = load_config('configs/seg/cityscapes_1024.py')
    cfg.model.backbone.update(arch=dict(embed_dims=32, num_layers=4), out_indices=(0, 1, 2, 3),
                              init_cfg=None)
    cfg.model.neck.in_channels = 32
    cfg.model.decode_head.update(in_channels=[32] * 4, channels=16)
    cfg.model.auxiliary_head.update(in_channels=32, channels=16)
    cfg.model['_scope_'] = 'mmseg'
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    rates = {n: (g['lr'], g['weight_decay']) for g in wrapper.optimizer.param_groups
             for n in g['names']}
    # two of each: stem, four blocks, and what has the full rate
    assert len(wrapper.optimizer.param_groups) == 12
    assert set(rates) == {n for n, _ in model.named_parameters()}
    base = cfg.optim_wrapper.optimizer.lr
    for name, distance in (('decode_head.conv_seg.weight', 0), ('neck.levels.0.0.weight', 0),
                           ('backbone.layers.3.mixer.in_proj.weight', 1),
                           ('backbone.layers.0.mlp.w1.weight', 4),
                           ('backbone.patch_embed.proj.weight', 5), ('backbone.pos_embed', 5)):
        assert rates[name][0] == pytest.approx(base * 0.9**distance), name
    for name in ('layers.1.mixer.A_log', 'pos_embed', 'cls_token'):
        assert rates[f'backbone.{name}'][1] == 0
    assert rates['backbone.layers.1.mixer.in_proj.weight'][1] == 0.01


def test_a_rate_that_layer_decay_passes_over_is_refused():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"the lr_mult of \['head'\] has no effect"):
        build_optim_wrapper(model, dict(
            optimizer=dict(type='AdamW', lr=1.), type='OptimWrapper',
            constructor='mmvitlin.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.)))))


def test_layer_decay_of_a_model_without_depth():
    with pytest.raises(TypeError, match='layer decay needs a backbone'):
        build_optim_wrapper(torch.nn.Linear(2, 2), Config(dict(optim_wrapper=dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3),
            constructor='mmvitlin.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.9)))).optim_wrapper)


def test_learning_rates_follow_the_images_of_an_update():
    cfg = Config(dict(optim_wrapper=dict(accumulative_counts=8),
                      auto_scale_lr=dict(enable=True, base_batch_size=1024)))
    _count_accumulation(cfg)
    assert cfg.auto_scale_lr.base_batch_size == 128  # 128 images a step are 1,024 an update
    _count_accumulation(cfg)  # as of a config that a run left: nothing is counted twice
    assert cfg.auto_scale_lr.base_batch_size == 128
    for change in (dict(optim_wrapper=dict()), dict(auto_scale_lr=dict(enable=False))):
        plain = Config(dict(optim_wrapper=dict(accumulative_counts=8),
                            auto_scale_lr=dict(enable=True, base_batch_size=64)) | change)
        before = plain.to_dict()
        _count_accumulation(plain)
        assert plain.to_dict() == before
