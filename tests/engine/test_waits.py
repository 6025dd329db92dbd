"""Steps for which the host does not wait: the same log, and no bad update."""
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper

from mmvitlin.benchmark.training_step import waits_of_steps
from mmvitlin.engine.hooks import FiniteLossHook, finite_on_device
from mmvitlin.engine.runner.launch import train
from mmvitlin.utils.errors import NonFiniteLossError
from mmvitlin.utils.weights import safe_torch_load
from tests.engine.nano import nano


@pytest.mark.parametrize('clip', [False, True])
def test_most_steps_wait_for_nothing(clip):
    """Once every ten steps for the finite check, and where losses are logged."""
    counts = waits_of_steps(clip, steps=60, logged=50)
    assert sorted(counts)[len(counts) // 2] == 0
    assert max(counts) == 1
    assert sum(counts) == 60 // 10 + 1
    before = waits_of_steps(clip, steps=60, logged=50, ours=False)
    assert min(before) >= 3 + clip  # a loss each, and the norm


@pytest.mark.slow
def test_the_log_is_that_of_mmengine(streets, tmp_path):
    """Every value, in the message hub at the end and in a checkpoint between two lines of the log;
    slow because it trains twice."""
    hubs = {}
    for kind, wrapper in (('RuntimeInfoHook', 'OptimWrapper'),
                          ('mmvitlin.RuntimeInfoHook', 'mmvitlin.OptimWrapper')):
        cfg = nano(streets, tmp_path / kind, **{
            'default_hooks.logger.interval': 3, 'default_hooks.checkpoint.max_keep_ckpts': 2,
            'optim_wrapper.clip_grad': dict(max_norm=0.1),
            'optim_wrapper.type': wrapper})
        cfg.default_hooks.runtime_info = dict(type=kind)
        runner = train(cfg)
        hubs[kind] = [runner.message_hub.state_dict(),
                      safe_torch_load(tmp_path / kind / 'iter_2.pth')['message_hub']]
    for hub, reference in zip(*hubs.values(), strict=True):
        hub, reference = hub['log_scalars'], reference['log_scalars']
        assert set(hub) == set(reference) >= {'train/loss', 'train/grad_norm', 'train/lr'}
        for key, values in reference.items():
            if 'time' not in key:
                assert [v.tolist() for v in values.data] == [v.tolist() for v in hub[key].data]
    assert len(hubs['RuntimeInfoHook'][1]['log_scalars']['train/loss'].data[0]) == 2


class Model(BaseModel):
    """Its second layer divides by zero where an image is black."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)

    def forward(self, inputs, data_samples=None, mode='loss'):
        x = self.second(self.first(inputs) / inputs.abs().sum().sign())
        return dict(loss=x.square().mean())


@pytest.mark.parametrize(('last', 'look'), [
    (20, None), (3, 'before_val'), (3, 'after_train'), (3, 'before_save_checkpoint')])
def test_a_bad_update_is_left_out_on_the_device(last, look):
    model = Model()
    wrapper = build_optim_wrapper(model, dict(
        type='mmvitlin.OptimWrapper', clip_grad=dict(max_norm=1.),
        optimizer=dict(type='AdamW', lr=0.1, fused=True)))
    assert finite_on_device.fits(wrapper)
    runner = SimpleNamespace(optim_wrapper=wrapper, model=model, iter=0, rank=0, seed=0)
    hook = FiniteLossHook()
    hook.before_train(runner)
    weights = []

    def run():
        for runner.iter in range(last):
            black = runner.iter == 1
            inputs = torch.zeros(2, 3) if black else torch.rand(2, 3)
            sample = SimpleNamespace(get=lambda key, n=runner.iter: f'image_{n}.png')
            batch = dict(inputs=inputs, data_samples=[sample])
            hook.before_train_iter(runner, runner.iter, batch)
            wrapper.update_params(model(inputs)['loss'])
            weights.append(model.second.weight.detach().clone())
        getattr(hook, look)(runner, *([{}] if 'save' in look else []))

    with pytest.raises(NonFiniteLossError) as caught:
        run()
    text = str(caught.value)
    assert 'the loss is nan at iteration 2, of the files image_1.png; ' in text
    assert "first output that is not finite is that of 'second'" in text
    assert len(weights) == (5 if look is None else 3)
    assert all(torch.equal(weights[0], other) for other in weights[1:])  # and none of the later
    assert torch.isfinite(weights[0]).all()


def test_what_cannot_be_left_to_the_device_is_looked_at_by_the_host():
    net = torch.nn.Linear(2, 2)
    fused = dict(type='AdamW', lr=0.1, fused=True)
    for cfg, fitting in ((dict(optimizer=fused), True),
                         (dict(optimizer=dict(type='AdamW', lr=0.1)), False),
                         (dict(optimizer=fused, accumulative_counts=2), False)):
        wrapper = build_optim_wrapper(net, dict(type='mmvitlin.OptimWrapper', **cfg))
        assert finite_on_device.fits(wrapper) == fitting
    wrapper = build_optim_wrapper(net, dict(type='OptimWrapper', optimizer=fused))
    wrapper.loss_scaler = torch.amp.GradScaler('cpu')
    assert not finite_on_device.fits(wrapper)
