"""A loss that is no number stops the run or is skipped, with the culprit named."""
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper

from mmvitlin.engine.launch import train
from mmvitlin.errors import NonFiniteLossError
from mmvitlin.models import Adventurer
from tests.engine.nano import nano

pytestmark = pytest.mark.slow


@pytest.fixture
def poisoned(monkeypatch):
    """The second block gives NaN in the third pass of training and in its repetition."""
    forward, count = Adventurer.forward_tokens, [0]

    def sick(self, images, *args, **kwargs):
        if self.training:
            count[0] += torch.is_grad_enabled()
            if count[0] == 3:
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
    cfg.custom_hooks = [dict(type='mmvitlin.FiniteLossHook', action='skip')]
    runner = train(cfg)
    assert runner.iter == 4
    assert all(torch.isfinite(p).all() for p in runner.model.state_dict().values())
    counts = {n: int(v) for n, v in runner.model.state_dict().items() if 'num_batches' in n}
    assert counts
    assert set(counts.values()) == {3}  # the skipped step left no trace in batch norm
    state = runner.optim_wrapper.optimizer.state_dict()['state']
    steps = {s['step'].item() for s in state.values()}
    assert steps == {3}


@pytest.mark.parametrize('action', ['stop', 'skip'])
def test_a_gradient_that_is_no_number(streets, tmp_path, monkeypatch, action):
    """The loss is finite, its gradient is not: sqrt at zero."""
    forward, count = Adventurer.forward_tokens, [0]

    def steep(self, images, *args, **kwargs):
        tokens = forward(self, images, *args, **kwargs)
        if self.training and torch.is_grad_enabled():
            count[0] += 1
            if count[0] == 3:
                tokens = [t._replace(patches=t.patches + (0 * t.patches).abs().sqrt())
                          for t in tokens]
        return tokens

    monkeypatch.setattr(Adventurer, 'forward_tokens', steep)
    cfg = nano(streets, tmp_path)
    cfg.custom_hooks = [dict(type='mmvitlin.FiniteLossHook', action=action)]
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


def test_bad_action():
    from mmvitlin.engine import FiniteLossHook
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
    from mmvitlin.engine.hooks import FiniteLossHook
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
