"""Few parameter groups instead of one a parameter."""
import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from mmvitlin.engine.optim.merged_groups import takes_fused
from mmvitlin.engine.runner.config import load_config
from mmvitlin.models import Adventurer
from mmvitlin.utils.errors import CheckpointError, ConfigError
from tests.conftest import ROOT


class Net(torch.nn.Module):

    def __init__(self):
        super().__init__()
        self.backbone = Adventurer(dict(embed_dims=32, num_layers=2), img_size=32, patch_size=8,
                                   mixer_cfg=dict(head_dims=16, d_state=8))
        self.head = torch.nn.Linear(32, 3)


def wrapper_of(net, schedule, **paramwise):
    cfg = load_config(str(ROOT / f'configs/_base_/schedules/{schedule}.py')).optim_wrapper
    cfg.paramwise_cfg.update(paramwise)
    cfg.pop('clip_grad', None)  # whose norm is summed in the order of the groups
    return build_optim_wrapper(net, cfg)


def wrapper_of_cfg(net, cfg, paramwise):
    return build_optim_wrapper(net, dict(
        cfg, constructor='mmvitlin.LayerDecayOptimWrapperConstructor', paramwise_cfg=paramwise))


@pytest.mark.parametrize(('schedule', 'groups'), [('distill_100e', 2), ('adamw_small', 2),
                                                  ('adamw_80k', 8)])
def test_merged_groups_train_bit_equally(schedule, groups):
    """Two for plain schedules; with layer decay two for the stem, each block and
    the head."""
    nets = [Net()]
    nets.append(copy.deepcopy(nets[0]))
    merged, plain = wrapper_of(nets[0], schedule), wrapper_of(nets[1], schedule, merge_groups=False)
    trained = [n for n, p in nets[0].named_parameters() if p.requires_grad]
    assert len(merged.optimizer.param_groups) == groups
    assert len(plain.optimizer.param_groups) >= len(trained) > 30
    assert sum(len(group['params']) for group in merged.optimizer.param_groups) == len(trained)
    images = torch.randn(2, 3, 32, 32)
    for _ in range(3):
        for net, wrapper in zip(nets, (merged, plain), strict=True):
            tokens = net.backbone(images)[0].flatten(2).mean(-1)
            wrapper.update_params(net.head(tokens).square().mean())
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize('more', [
    {}, dict(norm_decay_mult=0., bias_decay_mult=0.5, flat_decay_mult=0.1),
    dict(custom_keys={'layers': dict(decay_mult=0.3), 'layers.1': dict(decay_mult=2., eps=1e-3)})])
def test_layer_decay_is_mmpretrains(more):
    """Group by group, for a network that tells its depths itself, as mmpretrain asks for."""
    from mmvitlin.compat.mmpretrain import part
    net = Net()
    net.get_layer_depth = lambda name: net.backbone.get_layer_depth(name, 'backbone.')
    net.backbone.cls_token.requires_grad = False
    reference = part('engine.optimizers').LearningRateDecayOptimWrapperConstructor
    cfg = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05))
    options = dict(layer_decay_rate=0.7, **more)
    wrapper = wrapper_of_cfg(net, cfg, dict(options, merge_groups=False))
    expected = reference(dict(cfg), options)(net).optimizer.param_groups
    actual = wrapper.optimizer.param_groups
    assert len(expected) == len(actual)
    for one, other in zip(expected, actual, strict=True):
        assert all(p is q for p, q in zip(one.pop('params'), other.pop('params'), strict=True))
        if 'norm_decay_mult' in more and 'norm' in one['param_name']:  # mmpretrain takes an RMSNorm
            one['weight_decay'] = 0.05 * more['norm_decay_mult']  # for something else
        assert one == other


def test_custom_keys_that_would_change_nothing(monkeypatch):
    for wrong, near in (('lr_mul', 'lr_mult'), ('decay_multi', 'decay_mult'), ('beta', 'betas')):
        with pytest.raises(ConfigError, match=rf"\['head'\].{wrong} would change nothing; do you "
                                              f'mean {near}'):
            wrapper_of(Net(), 'adamw_small', custom_keys=dict(head={wrong: 10.}))
    for right in (dict(betas=(0.8, 0.9)), dict(lars_exclude=True), dict(use_muon=True)):
        wrapper_of(Net(), 'adamw_small', custom_keys=dict(head=right))
    told = []
    monkeypatch.setattr('mmvitlin.engine.optim.merged_groups.print_log',
                        lambda message, **kwargs: told.append(message))
    wrapper_of(Net(), 'adamw_small', custom_keys=dict(
        head=dict(lr_mult=10.), reg_token=dict(decay_mult=0.)))
    assert told == []
    wrapper_of(Net(), 'adamw_small', custom_keys=dict(decode_head=dict(lr_mult=10.)))
    assert "no parameter has ['decode_head'] in its name" in told[0]


def test_an_optimiser_of_other_groups_is_refused_with_the_remedy():
    old, new = wrapper_of(Net(), 'adamw_80k', merge_groups=False), wrapper_of(Net(), 'adamw_80k')
    with pytest.raises(CheckpointError, match=r'groups and this run.s 8.*merge_groups=False'):
        new.load_state_dict(old.state_dict())
    new.load_state_dict(wrapper_of(Net(), 'adamw_80k').state_dict())


def test_fused_is_for_optimisers_that_have_it_on_cuda_and_leave_it_open():
    on_gpu = torch.nn.Module()
    on_gpu.register_parameter('p', torch.nn.Parameter(torch.empty(1)))
    assert not takes_fused(dict(type='AdamW'), on_gpu)

    class OnGPU:
        def parameters(self):
            yield type('P', (), dict(device=torch.device('cuda')))

    assert takes_fused(dict(type='AdamW'), OnGPU())
    assert not takes_fused(dict(type='AdamW', foreach=True), OnGPU())
    assert not takes_fused(dict(type='Rprop'), OnGPU())


def test_modules_that_are_frozen_as_a_whole_are_not_listed(monkeypatch):
    from mmengine.optim.optimizer import default_constructor
    lines = []
    monkeypatch.setattr(default_constructor, 'print_log', lambda text, **_: lines.append(text))
    net = Net()
    net.backbone.blocks()[0].requires_grad_(False)
    net.head.bias.requires_grad_(False)
    wrapper = wrapper_of(net, 'distill_100e')
    trained = {id(p) for p in net.parameters() if p.requires_grad}
    assert {id(p) for g in wrapper.optimizer.param_groups for p in g['params']} == trained
    assert [line for line in lines if 'skipped' in line] == [
        'head.bias is skipped since its requires_grad=False']


@pytest.mark.parametrize(('kind', 'option', 'words'), [
    ('Merged', 'layer_decay_rate', 'MergedOptimWrapperConstructor has no such option'),
    ('Merged', 'norm_decay_mul', 'no such option, but norm_decay_mult'),
    ('LayerDecay', 'bias_lr_mult', 'no such option'),
    ('LayerDecay', 'layer_decay', 'no such option, but layer_decay_rate')])
def test_options_that_a_constructor_does_not_have(kind, option, words):
    with pytest.raises(ConfigError, match=f'paramwise_cfg.{option}: .*{words}'):
        build_optim_wrapper(Net(), dict(
            optimizer=dict(type='AdamW', lr=1e-3), paramwise_cfg={option: 0.5},
            constructor=f'mmvitlin.{kind}OptimWrapperConstructor'))


def test_rates_of_layers_are_above_0_and_do_not_grow():
    for key, value in (('layer_decay_rate', -1), ('layer_decay_rate', 0), ('layer_decay_rate', '1'),
                       ('layer_decay_rate', None), ('layer_decay_rate', 1.5),
                       ('backbone_lr_mult', -1.)):
        cfg = dict(type='mmvitlin.OptimWrapper', optimizer=dict(type='AdamW', lr=.1))
        with pytest.raises(ConfigError, match=f'paramwise_cfg.{key} must be a number'):
            wrapper_of_cfg(Net(), cfg, {key: value})


@pytest.mark.parametrize('constructor', [
    'mmvitlin.MergedOptimWrapperConstructor', 'mmvitlin.LayerDecayOptimWrapperConstructor'])
def test_norm_decay_mult_is_of_rms_norms_too(constructor):
    net = Net()
    wrapper = build_optim_wrapper(net, dict(
        type='mmvitlin.OptimWrapper', optimizer=dict(type='AdamW', lr=.1, weight_decay=.05),
        constructor=constructor, paramwise_cfg=dict(norm_decay_mult=0.)))
    decay = {id(p): group['weight_decay'] for group in wrapper.optimizer.param_groups
             for p in group['params']}
    norms = [m for m in net.modules() if isinstance(m, torch.nn.RMSNorm)]
    assert norms
    assert {decay[id(norm.weight)] for norm in norms} == {0.}
    assert .05 in decay.values()


def test_custom_options_without_weight_decay():
    cfg = dict(type='mmvitlin.OptimWrapper', optimizer=dict(type='SGD', lr=.1))
    wrapper = wrapper_of_cfg(Net(), cfg, dict(custom_keys=dict(head=dict(momentum=.5))))
    assert {group['momentum'] for group in wrapper.optimizer.param_groups} == {0, .5}


def test_a_factor_on_every_rate_of_the_backbone(monkeypatch):
    net = Net()
    wrapper = wrapper_of(net, 'adamw_small', backbone_lr_mult=0.1)
    rate = {id(p): group['lr'] for group in wrapper.optimizer.param_groups
            for p in group['params']}
    usual = max(rate.values())
    for name, p in net.named_parameters():
        if p.requires_grad:
            assert rate[id(p)] == pytest.approx(usual * (0.1 if name.startswith('back') else 1))
    told = []
    monkeypatch.setattr('mmvitlin.engine.optim.merged_groups.print_log',
                        lambda message, **kwargs: told.append(message))
    wrapper_of(Net(), 'adamw_small', custom_keys=dict(backbone=dict(lr_mult=0.1)))
    assert "custom_keys['backbone'].lr_mult does not reach parameters with ['" in told[0]
    assert 'or take backbone_lr_mult' in told[0]
