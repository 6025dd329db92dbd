"""A run cut in the middle of a gradient accumulation ends with the same weights as an uncut one."""
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS

from mmvitlin.engine.hooks import AccumulationHook, CleanExitHook, FiniteLossHook
from mmvitlin.engine.runner.launch import train
from mmvitlin.utils.errors import ConfigError
from tests.engine.nano import nano
from tests.engine.two_processes import launch

STEPS, COUNTS = 7, 4  # updates after 4 and the last 3


def config(streets, folder, steps=STEPS, loop='iterations', **options):
    cfg = nano(streets, folder, **{
        'optim_wrapper.accumulative_counts': COUNTS, 'train_dataloader.batch_size': 2,
        'default_hooks.checkpoint.interval': 3, 'default_hooks.checkpoint.max_keep_ckpts': 9,
        'train_cfg.max_iters': steps, 'train_cfg.val_interval': 100, **options})
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    if loop == 'epochs':  # of three batches
        cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
        cfg.train_dataloader.sampler = dict(type='mmvitlin.SeededSampler', shuffle=True)
        cfg.param_scheduler = None
        cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    return cfg


def content(path):
    return torch.load(path, map_location='cpu', weights_only=False)


def assert_same_weights(one, other):
    one, other = content(one)['state_dict'], content(other)['state_dict']
    assert one.keys() == other.keys()
    assert [k for k in one if not torch.equal(one[k], other[k])] == []


@pytest.fixture(scope='module')
def whole(streets, tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    train(config(streets, folder))
    return folder


def test_resumed_from_a_checkpoint_between_two_updates(streets, tmp_path, whole):
    runner = train(config(streets, tmp_path), resume=str(whole / 'iter_3.pth'))
    assert (runner.iter, runner.optim_wrapper.inner_count) == (STEPS, STEPS)
    assert_same_weights(tmp_path / f'iter_{STEPS}.pth', whole / f'iter_{STEPS}.pth')


def test_only_checkpoints_between_updates_are_larger(whole):
    assert 'gradient_accumulation' not in content(whole / f'iter_{STEPS}.pth')
    record = content(whole / 'iter_6.pth')['gradient_accumulation']
    assert record['counts'] == [6]
    own = content(whole / 'iter_6.pth')['state_dict']
    assert {k: v.shape for k, v in record['gradients'][0].items()} == {
        k: own[k].shape for k in record['gradients'][0]}


def stop_after(cfg, step):
    """A signal that is caught in a step, as the hook hears it."""
    class Stop(Hook):
        priority = 'LOW'

        def after_train_iter(self, runner, *args, **kwargs):
            if runner.iter + 1 == step:
                next(h for h in runner.hooks if type(h).__name__ == 'CleanExitHook').caught = 15

    HOOKS.register_module(name='StopInAccumulation', module=Stop, force=True)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='mmengine.StopInAccumulation')]
    return cfg


@pytest.mark.parametrize('step', [5])
def test_ended_by_a_signal_at_some_step(streets, tmp_path, whole, step):
    with pytest.raises(SystemExit):
        train(stop_after(config(streets, tmp_path), step))
    train(config(streets, tmp_path), resume=True)
    assert_same_weights(tmp_path / f'iter_{STEPS}.pth', whole / f'iter_{STEPS}.pth')


def test_an_epoch_that_ends_between_two_updates_in_mixed_precision(streets, tmp_path):
    def run(folder, **kwargs):
        return train(config(streets, folder, loop='epochs', **{
            'optim_wrapper.type': 'mmvitlin.CPUAmpOptimWrapper'}), **kwargs)

    run(tmp_path / 'whole')
    runner = run(tmp_path / 'again', resume=str(tmp_path / 'whole' / 'epoch_1.pth'))
    assert (runner.epoch, runner.iter) == (2, 6)
    assert_same_weights(*(tmp_path / w / 'epoch_2.pth' for w in ('whole', 'again')))


def test_steps_that_were_skipped_move_the_update(streets, tmp_path, monkeypatch):
    """A NaN or infinite loss at step 2: the update comes after step 5, resumed or not."""
    finite, step = FiniteLossHook._finite, iter([])

    def poisoned(hook, *losses):
        return next(step, True) and finite(hook, *losses)

    monkeypatch.setattr(FiniteLossHook, '_finite', poisoned)
    skipping = {'default_hooks.finite_loss.action': 'skip'}
    step = iter([True, False])
    train(config(streets, tmp_path / 'whole', steps=6, **skipping))
    assert content(tmp_path / 'whole' / 'iter_3.pth')['gradient_accumulation']['counts'] == [2]
    train(config(streets, tmp_path / 'again', steps=6, **skipping),
          resume=str(tmp_path / 'whole' / 'iter_3.pth'))
    assert_same_weights(*(tmp_path / w / 'iter_6.pth' for w in ('whole', 'again')))


def test_weights_to_start_from_bring_no_gradient():
    hook, network = AccumulationHook(), torch.nn.Linear(2, 2)
    record = dict(counts=[6], gradients=[dict(weight=torch.ones(2, 2))])
    hook.after_load_checkpoint(None, dict(meta=dict(iter=6), gradient_accumulation=record))
    hook.before_train(SimpleNamespace(iter=0, model=network))
    assert network.weight.grad is None


def deepspeed(steps, iteration=0, max_iters=8, length=None, val_interval=8, **saver):
    """A run of DeepSpeed's, as its hooks see it; by epochs of some length."""
    loop = SimpleNamespace(dataloader=range(length)) if length else \
        SimpleNamespace(dataloader_iterator=iter(()))
    engine = SimpleNamespace(gradient_accumulation_steps=lambda: steps)
    return SimpleNamespace(
        model=SimpleNamespace(model=engine), optim_wrapper=object(), iter=iteration,
        max_iters=max_iters, train_loop=loop, val_interval=val_interval,
        hooks=[CheckpointHook(by_epoch=bool(length), **saver)])


@pytest.mark.parametrize(('run', 'words'), [
    (dict(interval=6), 'default_hooks.checkpoint.interval is 6, and DeepSpeed makes an update of 4 '
                       'steps .*take a multiple of 4'),
    (dict(interval=1, length=6, max_iters=12), 'checkpoint.interval is 1 epochs of 6 steps'),
    (dict(interval=4, max_iters=7), 'train_cfg.max_iters is 7'),
    (dict(interval=4, iteration=6), '--resume: the iteration of the checkpoint is 6'),
    (dict(interval=4, val_interval=2, save_best='mIoU'), 'val_interval, with save_best, is 2'),
])
def test_deepspeed_stops_only_at_updates(run, words):
    """It keeps the gradients in between to itself."""
    with pytest.raises(ConfigError, match=words):
        AccumulationHook().before_train(deepspeed(4, **run))
    AccumulationHook().before_train(deepspeed(1, **run))
    AccumulationHook().before_train(deepspeed(4, interval=2, length=6, max_iters=12,
                                              val_interval=2, save_best='mIoU'))


def test_a_signal_waits_for_the_update_of_deepspeed():
    hook, ended = CleanExitHook(), []
    hook.caught = 15
    hook.end = lambda runner, caught, done: ended.append(done)
    for iteration in range(4):
        runner = deepspeed(4, iteration)
        runner.world_size = 1
        hook.after_train_iter(runner, iteration)
    assert ended == [4]


def test_gradients_of_parameters_that_were_sharded_differently():
    hook, network, messages = AccumulationHook(), torch.nn.Linear(2, 2), []
    record = dict(counts=[], gradients=[dict(weight=torch.ones(1, 2))])
    hook.after_load_checkpoint(None, dict(meta=dict(iter=6), gradient_accumulation=record))
    hook.before_train(SimpleNamespace(iter=6, model=network,
                                      logger=SimpleNamespace(warning=messages.append)))
    assert network.weight.grad is None
    assert 'sharded its parameters differently' in messages[0]


@pytest.mark.slow
def test_two_processes_each_keep_their_own(streets, tmp_path):
    """Gradients are not yet averaged between updates."""
    config(streets, tmp_path, steps=6).dump(tmp_path / 'c.py')
    cut = tmp_path / 'whole' / 'iter_3.pth'
    every = dict(config=tmp_path / 'c.py', train_cfg__max_iters=6, train_dataloader__batch_size=1,
                 default_hooks__checkpoint__interval=3)
    launch([dict(every, work=tmp_path / 'whole'),
            dict(every, work=tmp_path / 'again', resume=cut)], tmp_path)
    first, second = content(cut)['gradient_accumulation']['gradients']
    assert any(not torch.equal(first[k], second[k]) for k in first)
    assert_same_weights(*(tmp_path / w / 'iter_6.pth' for w in ('whole', 'again')))
    runner = train(config(streets, tmp_path / 'alone', steps=6), resume=str(cut))
    assert runner.iter >= 6  # another number of processes: said, and not exact
    assert 'of 2 processes, and 1 resume' in ''.join(
        p.read_text() for p in (tmp_path / 'alone').glob('*/*.log'))
