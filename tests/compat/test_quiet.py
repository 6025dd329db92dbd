"""Messages of libraries that look like faults are left out, and no others."""
import copy
import logging
import warnings
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import ConstantParamScheduler, build_optim_wrapper
from torch.utils import _pytree
from torch.utils.data import DataLoader

from mmvitlin.compat.quiet import quiet_export
from mmvitlin.engine.hooks import CheckpointHook, FiniteLossHook
from mmvitlin.engine.runner.cli import friendly


@pytest.fixture
def shown():
    """Warnings that were shown."""
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter('always')
        yield messages


@pytest.mark.skipif(torch.accelerator.is_available(), reason='without an accelerator')
def test_tools_do_not_warn_that_nothing_is_pinned(shown):
    def main():
        assert list(DataLoader([1], pin_memory=True)) == [torch.tensor([1])]
        warnings.warn('another', stacklevel=1)

    main()
    assert ['pin_memory' in str(w.message) for w in shown] == [True, False]
    shown.clear()
    friendly(main)()
    assert [str(w.message) for w in shown] == ['another']


def test_an_export_does_not_warn_of_torchs_own_copies(shown):
    leaf = _pytree.tree_structure(1)
    with quiet_export():
        copy.deepcopy(leaf)
        warnings.warn('another', stacklevel=1)
    assert [str(w.message) for w in shown] == ['another']


def test_a_checkpoint_hook_does_not_name_what_mmengine_will_remove(tmp_path, caplog):
    logger = MMLogger.get_instance('quiet', logger_name='quiet')
    runner = SimpleNamespace(work_dir=str(tmp_path), rank=0, logger=logger,
                             message_hub=SimpleNamespace(runtime_info={}))
    hook = CheckpointHook()
    logger.addHandler(caplog.handler)
    hook.before_train(runner)
    hook.before_train(runner)
    logger.warning('"FileClient" of my own')
    logger.log(logging.INFO, 'another')
    assert [r.getMessage() for r in caplog.records] == [
        f'Checkpoints will be saved to {tmp_path}.'] * 2 + ['"FileClient" of my own', 'another']


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.layer(inputs).square().mean())


@pytest.mark.parametrize(('action', 'fused', 'accumulated', 'bad'), [
    ('stop', False, 1, None), ('stop', True, 1, None), ('stop', False, 2, None),
    ('skip', False, 1, 0)])
def test_schedulers_see_the_guarded_step(action, fused, accumulated, bad, shown):
    """Also where they are stepped before the first update."""
    model = Model()
    wrapper = build_optim_wrapper(model, dict(
        type='mmvitlin.OptimWrapper', accumulative_counts=accumulated,
        optimizer=dict(type='SGD', lr=0.1, fused=fused)))
    scheduler = ConstantParamScheduler(wrapper, 'lr', factor=0.5, end=9)
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper, iter=0, max_iters=9, rank=0,
                             logger=logging, hooks=[], cfg={})
    hook = FiniteLossHook(action)
    hook.before_train(runner)
    before = model.layer.weight.clone()
    for n in range(3):
        images = torch.full((1, 2), float('nan') if n == bad else 1.)
        hook.before_train_iter(runner, n, dict(inputs=images))
        with wrapper.optim_context(model):
            wrapper.update_params(model(images)['loss'])
        scheduler.step()
    assert (model.layer.weight != before).all()
    assert [str(w.message) for w in shown if 'step()' in str(w.message)] == []
