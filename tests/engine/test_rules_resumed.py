"""A run resumes only from a state that fits its config."""
import re
from collections import Counter

import pytest
import torch
from mmengine.config import Config

from mmvitlin.engine.rules import Context, resumed
from mmvitlin.utils.errors import CheckpointError, ConfigError

ADAMW = dict(lr=1e-5, initial_lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, params=[0])
POLY = dict(begin=0, end=100, power=0.9, by_epoch=False, last_step=7)


def going_on(tmp_path, content=None, **more):
    """A context of a config that is resumed from such a file."""
    torch.save(dict(dict(
        meta={}, state_dict={}, message_hub={}, optimizer=dict(
            state={}, param_groups=[ADAMW], base_param_settings=ADAMW),
        param_schedulers=[POLY]), **(content or {})), tmp_path / 'iter_7.pth')
    return Context(Config(dict(dict(
        resume=True, load_from=str(tmp_path / 'iter_7.pth'),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        param_scheduler=[dict(type='PolyLR', end=100, power=0.9, by_epoch=False)]), **more)),
        'train', ())


def test_resuming_needs_more_than_weights(tmp_path):
    torch.save(dict(meta={}, state_dict={}), tmp_path / 'plain.pth')
    for name in ('plain.pth', 'net.safetensors'):
        cfg = Config(dict(resume=True, load_from=str(tmp_path / name)))
        with pytest.raises(CheckpointError, match=f'--resume: .*{name} holds only weights.*load_'):
            resumed.goes_on(Context(cfg, 'train', ()))


@pytest.mark.parametrize(('more', 'words'), [
    (dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3))),
     r'another optimiser \(it has betas\) than optim_wrapper.optimizer \(SGD\)'),
    (dict(param_scheduler=[]), r'with 1 schedules \(param_scheduler\), and the config has 0'),
    (dict(param_scheduler=[dict(type='LinearLR'), dict(type='PolyLR')]), 'and the config has 2')])
def test_the_state_of_another_optimiser_or_schedule(tmp_path, more, words):
    with pytest.raises(ConfigError, match=words):
        resumed.goes_on(going_on(tmp_path, **more))


def test_averaged_weights_are_not_taken_for_the_trained_ones(tmp_path):
    averaged = dict(ema_state_dict={})
    with pytest.raises(ConfigError, match='averaged weights .EMAHook.*switches=ema'):
        resumed.goes_on(going_on(tmp_path, averaged))
    resumed.goes_on(going_on(tmp_path, averaged, custom_hooks=[dict(type='EMAHook')]))


@pytest.mark.parametrize(('more', 'words'), [
    ({}, None),
    (dict(optim_wrapper=dict(optimizer=dict(type='AdamW', lr=2e-3))), 'lr is 0.002, .* with 0.001'),
    (dict(optim_wrapper=dict(optimizer=dict(type='AdamW', lr=2e-3), paramwise_cfg=dict(
        bias_lr_mult=2.))), 'lr is 0.002, .* resumes with 0.001'),
    (dict(param_scheduler=[dict(type='PolyLR', end=200, power=0.9, by_epoch=False)]),
     'param_scheduler.0.end is 200, and .*iter_7.pth resumes with 100'),
    (dict(optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.5))),
     'optimizer.weight_decay is 0.5, .* resumes with 0.05'),
    (dict(randomness=dict(seed=3)), None),
    (dict(randomness=dict(seed=4)), 'randomness.seed is 4, and .* resumes with 3'),
    (dict(param_scheduler=[dict(type='PolyLR', end=9, convert_to_iter_based=True)]), None),
    (dict(resume=False, param_scheduler=[]), None)])
def test_what_was_changed_since_has_no_effect(tmp_path, more, words, monkeypatch):
    messages = []
    monkeypatch.setattr(resumed, 'warn', messages.append)
    context = going_on(tmp_path, dict(meta=dict(seed=3)), **more)
    resumed.goes_on(context)
    if context.cfg.resume:  # samplers, which are built before a Runner resumes, need it
        assert context.cfg.randomness.seed == 3
    assert len(messages) == (words is not None)
    if words:
        assert re.search(words, messages[0])


def test_steps_of_a_schedule_that_were_changed(tmp_path, monkeypatch):
    messages, steps = [], dict(by_epoch=False, milestones=Counter([5, 8]), gamma=0.1)
    monkeypatch.setattr(resumed, 'warn', messages.append)
    for milestones in ([5, 8], [2, 3]):
        resumed.goes_on(going_on(tmp_path, dict(param_schedulers=[steps]), param_scheduler=[
            dict(type='MultiStepLR', by_epoch=False, milestones=milestones, gamma=0.1)]))
    assert len(messages) == 1
    assert re.search(r'milestones is \[2, 3\], and .* resumes with \[5, 8\]', messages[0])


@pytest.mark.parametrize(('meta', 'loop', 'told'), [
    (dict(iter=7), dict(max_iters=7), 'iter 7, and train_cfg.max_iters is 7'),
    (dict(iter=700, epoch=3), dict(max_epochs=2), 'epoch 3, and train_cfg.max_epochs is 2'),
    (dict(iter=7), dict(max_iters=8), None), (dict(iter=7, epoch=1), dict(max_epochs=2), None)])
def test_a_run_that_is_done(tmp_path, monkeypatch, meta, loop, told):
    seen = []
    monkeypatch.setattr(resumed, 'warn', seen.append)
    resumed.goes_on(going_on(tmp_path, dict(meta=meta), train_cfg=loop))
    assert [one for one in seen if 'nothing is left to train' in one and str(told) in one] == seen
    assert len(seen) == (told is not None)
