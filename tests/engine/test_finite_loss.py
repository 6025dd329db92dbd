"""A NaN or infinite loss stops the run or is skipped, with the culprit named."""
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict

from mmvitlin.engine import FiniteLossHook
from mmvitlin.engine.runner.launch import train
from mmvitlin.models import Adventurer
from mmvitlin.models.losses.target_norm import TargetStandardizer
from mmvitlin.utils.errors import NonFiniteLossError
from tests.engine.nano import nano

pytestmark = pytest.mark.slow


@pytest.fixture
def poisoned(monkeypatch):
    """The second block gives NaN in the third pass of training and in its repetition."""
    forward, seen = Adventurer.forward_tokens, []

    def sick(self, images, *args, **kwargs):
        if self.training:
            seen.append(images.sum().item())
            if [seen[-1]] == seen[2:3]:
                handle = self.layers[1].mlp.register_forward_hook(
                    lambda m, a, y: y * float('nan'), prepend=True)
                try:
                    return forward(self, images, *args, **kwargs)
                finally:
                    handle.remove()
        return forward(self, images, *args, **kwargs)

    monkeypatch.setattr(Adventurer, 'forward_tokens', sick)


def test_the_run_stops_and_names_files_and_module(streets, tmp_path, poisoned):
    with pytest.raises(NonFiniteLossError) as caught:
        train(nano(streets, tmp_path))
    text = str(caught.value)
    assert 'the loss is nan at iteration 3' in text
    assert text.count('_leftImg8bit.png') == 4
    assert "that of 'backbone.layers.1.mlp'" in text
    assert (tmp_path / 'iter_2.pth').is_file()
    assert not (tmp_path / 'iter_4.pth').exists()


def test_the_step_is_skipped(streets, tmp_path, poisoned):
    cfg = nano(streets, tmp_path)
    cfg.default_hooks.finite_loss.action = 'skip'
    runner = train(cfg)
    assert runner.iter == 4
    assert all(torch.isfinite(p).all() for p in runner.model.state_dict().values())
    counts = {n: int(v) for n, v in runner.model.state_dict().items() if 'num_batches' in n}
    assert counts
    assert set(counts.values()) == {3}  # the skipped step did not change batch norm
    state = runner.optim_wrapper.optimizer.state_dict()['state']
    steps = {s['step'].item() for s in state.values()}
    assert steps == {3}


@pytest.mark.parametrize('action', ['stop', 'skip'])
def test_a_nan_gradient(streets, tmp_path, monkeypatch, action):
    """The loss is finite, its gradient is not: sqrt at zero."""
    forward, count = Adventurer.forward_tokens, [0]

    def steep(self, images, *args, **kwargs):
        tokens = forward(self, images, *args, **kwargs)
        if self.training:
            count[0] += 1
            if count[0] == 3:
                tokens = [t._replace(patches=t.patches + (0 * t.patches).abs().sqrt())
                          for t in tokens]
        return tokens

    monkeypatch.setattr(Adventurer, 'forward_tokens', steep)
    cfg = nano(streets, tmp_path)
    cfg.default_hooks.finite_loss.action = action
    if action == 'stop':
        with pytest.raises(NonFiniteLossError, match='norm of the gradient is nan at iteration 3'):
            train(cfg)
        return
    runner = train(cfg)
    assert runner.iter == 4
    assert all(torch.isfinite(p).all() for p in runner.model.state_dict().values())


def test_a_teacher_is_named(streets, tmp_path, monkeypatch):
    from tests.engine.test_hooks import distill_config
    cfg = distill_config(streets, tmp_path)
    from mmvitlin.models import FrozenTeacher
    build = FrozenTeacher.__init__

    def poisoned(self, *args, **kwargs):
        build(self, *args, **kwargs)
        with torch.no_grad():
            self.network.vit.blocks[1].mlp.fc2.bias.fill_(float('nan'))

    monkeypatch.setattr(FrozenTeacher, '__init__', poisoned)
    with pytest.raises(NonFiniteLossError, match=r"'teacher\.vit\.blocks\.1\.mlp\.fc2'"):
        train(cfg)


def test_a_skipped_batch_is_in_no_statistics_of_the_objectives():
    norm = TargetStandardizer(4, 'phi_s', num_batches=2)
    hook, runner = FiniteLossHook('skip'), SimpleNamespace(model=norm)
    norm.observe(torch.randn(9, 4))
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    hook.before_train_iter(runner, 0)
    norm.observe(torch.randn(9, 4))
    assert norm.complete()
    hook._restore()
    assert all(torch.equal(v, before[k]) for k, v in norm.state_dict().items())
    assert not norm.complete()


def test_bad_action():
    with pytest.raises(ValueError, match="action must be 'stop' or 'skip'"):
        FiniteLossHook('ignore')


class Scaled(OptimWrapper):
    """As mmengine's for float16, whose scaler leaves out steps without finite gradients."""

    def __init__(self, enabled, **kwargs):
        super().__init__(**kwargs)
        self.loss_scaler = torch.amp.GradScaler('cpu', enabled=enabled)

    def step(self, **kwargs):
        self.loss_scaler.step(self.optimizer)
        self.loss_scaler.update()


@pytest.mark.parametrize(('enabled', 'at', 'words'), [
    (False, 1, 'the norm of the gradient is nan'),
    (True, 31, 'no gradient was finite for 31 steps, the loss scale fell to')])
def test_a_scaler_does_not_hide_gradients_that_are_never_finite(enabled, at, words):
    model = torch.nn.Linear(2, 1)
    wrapper = Scaled(enabled, optimizer=torch.optim.SGD(model.parameters(), 0.1))
    runner = SimpleNamespace(optim_wrapper=wrapper, model=model, iter=0, rank=0)
    hook = FiniteLossHook()
    hook._culprit = lambda runner: 'no module'
    hook.before_train(runner)

    def step(finite):
        loss = wrapper.loss_scaler.scale(model(torch.ones(1, 2)).sum())
        loss.backward()
        if not finite:
            model.weight.grad.fill_(float('nan'))
        wrapper.step()
        wrapper.zero_grad()

    before = model.weight.clone()
    step(True)
    assert not torch.equal(model.weight, before)
    for _ in range(at - 1):
        step(False)
    step(True)  # the count starts anew
    for _ in range(at - 1):
        step(False)
    with pytest.raises(NonFiniteLossError, match=words):
        step(False)
    assert torch.isfinite(model.weight).all()


@pytest.mark.parametrize('tiled', [True, False])
def test_blocks_that_ran_tile_by_tile_are_named_by_the_code_they_ran(streets, tmp_path, tiled):
    """NaN of the tiled form alone, which modules do not have; and of a weight, which both have."""
    from mmvitlin.models.layers import SwiGLU

    def poison(runner):
        layer = runner.model.backbone.layers[1]
        if tiled:
            usual = layer.trained
            layer.trained = lambda *args, **kwargs: usual(*args, **kwargs) * float('nan')
        else:
            assert isinstance(layer.mlp, SwiGLU)
            layer.mlp.w3.bias = torch.nn.Parameter(torch.full((32, ), float('inf')))

    cfg = nano(streets, tmp_path)
    from mmengine.hooks import Hook
    from mmengine.registry import HOOKS
    HOOKS.register_module(name='Poison', force=True, module=type('Poison', (Hook, ), dict(
        before_train=lambda self, runner: poison(runner))))
    cfg.custom_hooks = [dict(type='mmengine.Poison')]
    with pytest.raises(NonFiniteLossError) as caught:
        train(cfg)
    words = "that of 'backbone.layers.1', which ran tile by tile; run module by module it is finite"
    assert (words if tiled else 'weights are not finite already') in str(caught.value)


@pytest.mark.parametrize('counts', [1, 2])
def test_several_processes_agree_by_one_reduction_a_step(monkeypatch, counts):
    """Of losses, gradients, signals and running statistics; two processes that are alike."""
    import signal

    from mmvitlin.engine.hooks import (
        AverageBuffersHook,
        CleanExitHook,
        FiniteLossHook,
        average_buffers,
        finite_loss,
    )
    reductions, ended = [], []

    def all_reduce(tensor, *args, **kwargs):
        reductions.append(tensor.numel())
        tensor *= 2

    monkeypatch.setattr('torch.distributed.all_reduce', all_reduce)
    monkeypatch.setattr('torch.distributed.get_backend', lambda: 'gloo')
    for module in (average_buffers, finite_loss):
        monkeypatch.setattr(module, 'get_world_size', lambda: 2)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1), accumulative_counts=counts)
    wrapper.initialize_count_status(model, 0, 100)
    hooks = [AverageBuffersHook(), FiniteLossHook('skip'), clean_exit := CleanExitHook()]
    monkeypatch.setattr(clean_exit, 'end', lambda runner, caught, done: ended.append(caught))
    loop = SimpleNamespace(dataloader_iterator=None, dataloader=SimpleNamespace(batch_size=4))
    runner = SimpleNamespace(optim_wrapper=wrapper, model=model, iter=0, max_iters=9, rank=0,
                             world_size=2,
                             hooks=hooks, train_loop=loop, _resume=False, logger=SimpleNamespace(
                                 warning=lambda text: None))
    hooks[1]._describe = lambda *args: 'why'

    def step(poison=1.):
        for hook in hooks:
            hook.before_train_iter(runner, 0)
        wrapper.update_params(model(torch.randn(4, 2)).square().sum() * poison)
        for hook in hooks:
            hook.after_train_iter(runner, 0)

    monkeypatch.setattr('mmvitlin.engine.hooks.clean_exit._by_epoch', lambda runner: False)
    try:
        for hook in hooks:
            hook.before_train(runner)
        for number in range(1, 5):
            step()
            assert len(reductions) == number
            assert reductions[-1] == 1 + 2 + 6
        before = model[1].running_mean.clone()
        step(float('nan'))
        assert torch.equal(model[1].running_mean, before)
        assert not ended
        clean_exit.caught = signal.SIGTERM
        step()
        assert ended == [signal.SIGTERM]
    finally:
        clean_exit.restore()


@pytest.mark.parametrize('bad', [3, 6])
def test_the_last_of_accumulated_gradients_are_in_an_update(bad):
    """Six steps in pairs, one of them skipped: three updates, the last of one step."""
    model = torch.nn.Linear(2, 1)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1), accumulative_counts=2)
    updates, step = [], wrapper.optimizer.step
    wrapper.optimizer.step = lambda *args: (updates.append(runner.iter + 1), step(*args))
    runner = SimpleNamespace(
        optim_wrapper=wrapper, model=model, iter=0, max_iters=6, rank=0,
        logger=SimpleNamespace(warning=lambda message: None))
    wrapper.initialize_count_status(model, 0, 6)
    hook = FiniteLossHook('skip')
    hook._describe = lambda *args: ''
    hook.before_train(runner)
    for runner.iter in range(6):
        hook.before_train_iter(runner, 0)
        poison = float('nan') if runner.iter + 1 == bad else 1.
        wrapper.update_params(model(torch.randn(4, 2)).square().mean() * poison)
    assert updates == {3: [2, 5, 6], 6: [2, 4, 6]}[bad]


def test_several_optimisers_are_left_alone():
    told, model = [], torch.nn.Linear(2, 1)
    wrapper = OptimWrapperDict(one=OptimWrapper(torch.optim.SGD(model.parameters(), 0.1)))
    FiniteLossHook().before_train(SimpleNamespace(
        optim_wrapper=wrapper, model=model, logger=SimpleNamespace(warning=told.append)))
    assert 'several optimisers' in told[0]
