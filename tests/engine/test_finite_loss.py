"""A loss that is no number stops the run or is skipped, with the culprit named."""
import pytest
import torch

from mmvitlin.engine.launch import train
from mmvitlin.errors import NonFiniteLossError
from mmvitlin.models import Adventurer
from tests.engine.test_launch import nano

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
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    state = runner.optim_wrapper.optimizer.state_dict()['state']
    steps = {s['step'].item() for s in state.values()}
    assert steps == {3}


def test_bad_action():
    from mmvitlin.engine import FiniteLossHook
    with pytest.raises(ValueError, match="action must be 'stop' or 'skip'"):
        FiniteLossHook('ignore')
