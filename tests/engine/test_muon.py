"""Muon for matrices, AdamW for the rest: against both by themselves."""
import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import CosineAnnealingLR, OptimWrapper, build_optim_wrapper
from torch import nn

from mmvitlin.engine.optim import MuonWithAdamW
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.strategies import settings
from mmvitlin.utils.errors import ConfigError


class Net(nn.Module):

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 8, 2), nn.LayerNorm(8)
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.second(self.first(self.norm(self.conv(x).mean((2, 3)))))


def wrapper_of(net):
    cfg = load_config('configs/distill/adala-attention_dinov2-large_coco-448.py',
                      {'switches': 'muon'}).optim_wrapper
    cfg.pop('clip_grad')
    assert cfg.optimizer.type == 'mmvitlin.MuonWithAdamW'
    assert 'betas' not in cfg.optimizer  # of the AdamW that it replaces
    return build_optim_wrapper(net, cfg)


def steps(net, wrapper, count, start=0):
    for n in range(start, start + count):
        torch.manual_seed(n)
        wrapper.update_params(net(torch.randn(4, 3, 6, 6)).square().mean())


def test_it_updates_as_the_two_by_themselves_and_resumes_to_the_bit():
    net, reference = Net(), Net()
    wrapper = wrapper_of(net)
    kinds = {g['matrices']: (g['lr'], g['weight_decay'], len(g['params']))
             for g in wrapper.optimizer.param_groups if g['weight_decay'] or g['matrices']}
    assert kinds[True] == (1e-2, 0.05, 2)
    assert all(g['weight_decay'] == 0 and g['lr'] == 4e-4
               for g in wrapper.optimizer.param_groups if not g['matrices'])
    assert sum(len(g['params']) for g in wrapper.optimizer.param_groups) == 8
    matrices = [p for p in reference.parameters() if p.ndim == 2]
    both = (torch.optim.Muon(matrices, lr=1e-2, weight_decay=0.05),
            torch.optim.AdamW([p for p in reference.parameters() if p.ndim != 2], lr=4e-4,
                              weight_decay=0.))
    steps(net, wrapper, 3)
    for n in range(3):
        torch.manual_seed(n)
        reference(torch.randn(4, 3, 6, 6)).square().mean().backward()
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad()
    for one, other in zip(net.parameters(), reference.parameters(), strict=True):
        assert torch.equal(one, other)

    again = copy.deepcopy(net)
    resumed = wrapper_of(again)
    resumed.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    steps(net, wrapper, 2, 3)
    steps(again, resumed, 2, 3)
    for one, other in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_schedules_and_rates_of_layers_hold_in_both_parts():
    net = Net()
    optimizer = MuonWithAdamW([dict(params=list(net.first.parameters()), lr=5e-3, weight_decay=0.),
                               dict(params=list(net.second.parameters()))], lr=1e-2)
    assert [g['lr'] for g in optimizer.param_groups] == pytest.approx([5e-3, 2e-4, 1e-2, 4e-4])
    assert [g['weight_decay'] for g in optimizer.param_groups] == [0, 0, 0.05, 0]
    schedule = CosineAnnealingLR(OptimWrapper(optimizer), T_max=2)
    optimizer.step()
    schedule.step()
    assert [g['lr'] for g in optimizer.param_groups] == pytest.approx([25e-4, 1e-4, 5e-3, 2e-4])


def test_it_is_refused_where_it_cannot_work(monkeypatch):
    with pytest.raises(ConfigError, match=r"adamw: \['rate'\] are none of"):
        MuonWithAdamW(Net().parameters(), adamw=dict(rate=1))
    for kind in ('mmvitlin.MuonWithAdamW', 'Muon'):
        cfg = Config(dict(strategy=dict(type='mmvitlin.ShardedStrategy'),
                          runner_type='FlexibleRunner', launcher='pytorch',
                          optim_wrapper=dict(optimizer=dict(type=kind))))
        with pytest.raises(ConfigError, match='Muon works on whole matrices, and ShardedStrategy'):
            settings.refuse(cfg)
    monkeypatch.delattr(torch.optim, 'Muon')
    with pytest.raises(ConfigError, match='Muon needs torch 2.9 or newer'):
        MuonWithAdamW(Net().parameters())


def test_shares_of_the_decay_reach_both_optimisers():
    net = Net()
    groups = [dict(params=[p], weight_decay=0.5 * share) for p, share in zip(
        net.parameters(), (1., 0.5, 2., 0., 0.1, 1., 1., 1.), strict=True)]
    optimizer = MuonWithAdamW(groups, lr=1e-2, weight_decay=0.5,
                              adamw=dict(lr=1e-3, weight_decay=0.2))
    decays = {id(p): group['weight_decay'] for group in optimizer.param_groups
              for p in group['params']}
    usual = [0.5 if p.ndim == 2 else 0.2 for p in net.parameters()]
    assert [decays[id(p)] for p in net.parameters()] == pytest.approx(
        [u * s for u, s in zip(usual, (1., 0.5, 2., 0., 0.1, 1., 1., 1.), strict=True)])


def test_options_of_groups_stand_over_those_of_all():
    matrix, vector = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(3))
    group = dict(params=[matrix, vector], momentum=.5, ns_steps=3, betas=(.8, .9), eps=1e-3)
    of_muon, of_adamw = MuonWithAdamW([group], lr=.01).param_groups
    assert (of_muon['momentum'], of_muon['ns_steps']) == (.5, 3)
    assert of_muon['eps'] < 1e-3  # AdamW's
    assert (of_adamw['betas'], of_adamw['eps']) == ((.8, .9), 1e-3)


def test_weight_decay_of_adamw_alone():
    parameters = [nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(3))]
    optimizer = MuonWithAdamW(parameters, weight_decay=0., adamw=dict(weight_decay=.05))
    assert [group['weight_decay'] for group in optimizer.param_groups] == [0., .05]
    with pytest.raises(ConfigError, match='weight_decay is 0'):
        MuonWithAdamW([dict(params=parameters, weight_decay=0.)], weight_decay=0.,
                      adamw=dict(weight_decay=.05))
