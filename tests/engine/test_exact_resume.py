"""A run that is cut and resumed ends with the same weights as one that was not."""
import copy
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmvitlin.datasets.samplers.seeding import SeededIndex
from mmvitlin.engine import checkpoints
from mmvitlin.engine.runner import run_options
from mmvitlin.engine.runner.launch import train
from mmvitlin.models.utils import read_state_dict
from mmvitlin.utils.errors import CheckpointError, ConfigError, DiskFullError, UserError
from tests.conftest import ROOT
from tests.engine.nano import nano


@pytest.mark.slow
def test_pipelines_of_other_libraries_resume_exactly(streets, tmp_path):
    """mmseg's own reader, which knows no seeds, with two workers and cut in two."""
    def loaders(**more):
        cfg = nano(streets, tmp_path)
        dataset = cfg.train_dataloader.dataset
        dataset.pipeline[0] = dict(type='LoadImageFromFile')
        return {'train_dataloader.dataset': dict(
            _delete_=True, type='mmvitlin.SeededDataset', dataset=dataset), **more}

    run(streets, tmp_path / 'whole', **loaders())
    run(streets, tmp_path / 'cut', upto=2, **loaders())
    run(streets, tmp_path / 'cut', resume=True, **loaders(**{'train_dataloader.num_workers': 2}))
    assert_equal(weights(tmp_path / 'whole'), weights(tmp_path / 'cut'))


def run(streets, folder, upto=6, resume=False, **options):
    cfg = nano(streets, folder, **{'model.backbone.drop_path_rate': 0.3,
                                   'default_hooks.checkpoint.max_keep_ckpts': 5, **options})
    cfg.train_cfg.update(max_iters=upto, val_interval=6)
    return train(cfg, resume=resume)


def weights(folder):
    return read_state_dict(folder / 'iter_6.pth', prefix='')


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.fixture(scope='module')
def undisturbed(streets, tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    run(streets, folder)
    return weights(folder)


@pytest.mark.slow
def test_cut_in_two(streets, tmp_path, undisturbed):
    run(streets, tmp_path, upto=2)
    runner = run(streets, tmp_path, resume=True)
    assert runner.iter == 6
    assert_equal(weights(tmp_path), undisturbed)


@pytest.mark.slow
def test_a_run_without_a_seed_goes_on_with_its_own(streets, tmp_path):
    run(streets, tmp_path / 'whole', upto=2, randomness=dict(seed=None))
    shutil.copytree(tmp_path / 'whole', tmp_path / 'cut')
    whole, cut = (run(streets, folder, resume=True, randomness=dict(seed=None))
                  for folder in (tmp_path / 'whole', tmp_path / 'cut'))
    assert whole.train_dataloader.sampler.seed == cut.train_dataloader.sampler.seed
    assert_equal(weights(tmp_path / 'whole'), weights(tmp_path / 'cut'))


@pytest.mark.slow
def test_other_workers_see_the_same_data(streets, tmp_path, undisturbed):
    run(streets, tmp_path, **{'train_dataloader.num_workers': 2})
    assert_equal(weights(tmp_path), undisturbed)


@pytest.mark.slow
def test_a_broken_newest_checkpoint_is_passed_over(streets, tmp_path, undisturbed, capfd):
    run(streets, tmp_path, upto=4)
    newest = tmp_path / 'iter_4.pth'
    content = newest.read_bytes()
    newest.write_bytes(content[:len(content) // 2])
    run(streets, tmp_path, resume=True)
    assert_equal(weights(tmp_path), undisturbed)
    assert 'passed over iter_4.pth' in ''.join(capfd.readouterr())


def test_the_checkpoint_that_was_written_last_is_resumed(tmp_path):
    """Not one of more iterations that an older run left, and also one elsewhere."""
    for name in ('iter_40.pth', 'iter_10.pth', 'elsewhere/iter_20.pth', 'ckpt_30.pth'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        torch.save(dict(message_hub={}), tmp_path / name)
    assert checkpoints.newest_readable(tmp_path) == tmp_path / 'iter_40.pth'
    for named, expected in (('/moved/iter_10.pth', 'iter_10.pth'), ('ckpt_30.pth', 'ckpt_30.pth'),
                            (str(tmp_path / 'elsewhere/iter_20.pth'), 'elsewhere/iter_20.pth')):
        (tmp_path / 'last_checkpoint').write_text(named)
        assert checkpoints.newest_readable(tmp_path) == tmp_path / expected
        assert checkpoints.last_checkpoint(tmp_path) == tmp_path / expected
    (tmp_path / 'elsewhere/iter_20.pth').write_bytes(b'half')
    assert checkpoints.newest_readable(tmp_path) == tmp_path / 'iter_40.pth'


def test_no_checkpoint_starts_afresh_and_none_readable_is_an_error(tmp_path):
    assert checkpoints.newest_readable(tmp_path) is None
    (tmp_path / 'iter_1.pth').write_bytes(b'nonsense')
    torch.save(dict(state_dict={}), tmp_path / 'iter_2.pth')
    with pytest.raises(CheckpointError, match='no checkpoint in .* can be read: iter_2.*iter_1'):
        checkpoints.newest_readable(tmp_path)


SCRIPT = """
import sys
from pathlib import Path
sys.argv = ['train.py']
from tests.engine.test_exact_resume import run
import mmengine.hooks
step = mmengine.hooks.ParamSchedulerHook.after_train_iter
def slowly(self, runner, *a, **k):
    import time
    step(self, runner, *a, **k)
    if runner.iter == 3:
        Path(r'{folder}', 'waits').touch()
        clean = next(h for h in runner.hooks if type(h).__name__ == 'CleanExitHook')
        end = time.time() + 300
        while clean.caught is None and time.time() < end:
            time.sleep(0.01)
mmengine.hooks.ParamSchedulerHook.after_train_iter = slowly
run(r'{streets}', Path(r'{folder}'), **{options!r})
"""


def start(streets, folder, **options):
    """A run in a session of its own, which waits for a signal in its fourth step."""
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', SCRIPT.format(
        folder=folder, streets=streets, options=options)], cwd=ROOT, stderr=subprocess.PIPE,
        text=True, env=dict(os.environ, OMP_NUM_THREADS='2'), start_new_session=True)


def wait_for(folder, child):
    for _ in range(3000):
        if (folder / 'waits').is_file():
            return
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.1)
    pytest.fail('the run did not come so far')


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_killed_at_some_moment(streets, tmp_path, undisturbed, number):
    child = start(streets, tmp_path)
    wait_for(tmp_path, child)
    child.send_signal(number)
    output = child.communicate(timeout=300)[1]
    if number == signal.SIGKILL:
        assert child.returncode == -number
    else:
        assert child.returncode == 128 + number, output
        assert 'ending after this step' in output
        assert (tmp_path / 'iter_4.pth').is_file()
    assert not (tmp_path / 'iter_6.pth').exists()
    run(streets, tmp_path, resume=True)
    assert_equal(weights(tmp_path), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_the_whole_group_is_signalled(streets, tmp_path, undisturbed, number):
    """As torchrun, Slurm and a terminal do: the loader's workers get it too."""
    child = start(streets, tmp_path, **{'train_dataloader.num_workers': 2})
    wait_for(tmp_path, child)
    os.killpg(child.pid, number)
    output = child.communicate(timeout=300)[1]
    assert child.returncode == 128 + number, output
    assert (tmp_path / 'iter_4.pth').is_file()
    run(streets, tmp_path, resume=True)
    assert_equal(weights(tmp_path), undisturbed)


def by_epoch(streets, folder, resume=False, stop_after=None):
    """Two epochs of three batches; the hook of the signal is called by hand."""
    cfg = nano(streets, folder, **{'train_dataloader.batch_size': 2})
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=2)
    cfg.train_dataloader.sampler = dict(type='mmvitlin.SeededSampler', shuffle=True)
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0., by_epoch=True, begin=0,
                                end=2, convert_to_iter_based=True)]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=1)
    if stop_after is not None:
        class Stop(Hook):
            priority = 'LOW'

            def after_train_iter(self, runner, *args, **kwargs):
                if runner.iter + 1 == stop_after:
                    next(h for h in runner.hooks if type(h).__name__ == 'CleanExitHook').caught = 15

        HOOKS.register_module(name='StopAfter', module=Stop, force=True)
        cfg.custom_hooks = [dict(type='mmengine.StopAfter')]
    return train(cfg, resume=resume)


@pytest.mark.slow
@pytest.mark.parametrize('stop_after', [2, 4])
def test_in_the_middle_of_an_epoch(streets, tmp_path, stop_after):
    by_epoch(streets, tmp_path / 'whole')
    with pytest.raises(SystemExit):
        by_epoch(streets, tmp_path / 'cut', stop_after=stop_after)
    name = f'epoch_{(stop_after - 1) // 3}_iter_{stop_after}.pth'
    assert (tmp_path / 'cut' / name).is_file()
    runner = by_epoch(streets, tmp_path / 'cut', resume=True)
    assert (runner.epoch, runner.iter) == (2, 6)
    a, b = (read_state_dict(tmp_path / w / 'epoch_2.pth', prefix='') for w in ('whole', 'cut'))
    assert_equal(a, b)


def test_a_new_checkpoint_is_there_before_the_old_one_goes(streets, tmp_path, monkeypatch):
    """With one kept, a crash while the second is saved leaves the first."""
    from mmengine.runner import Runner
    save, calls = Runner.save_checkpoint, []

    def failing(self, *args, **kwargs):
        calls.append(args[1])
        if len(calls) == 2:
            raise OSError(28, 'No space left on device')
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Runner, 'save_checkpoint', failing)
    options = {'default_hooks.checkpoint.max_keep_ckpts': 1}
    with pytest.raises(OSError, match='No space'):
        run(streets, tmp_path, **options)
    assert sorted(p.name for p in tmp_path.glob('iter_*.pth')) == ['iter_2.pth']
    run(streets, tmp_path, resume=True, **options)
    assert sorted(p.name for p in tmp_path.glob('iter_*.pth')) == ['iter_6.pth']


def test_resuming_with_nothing_there_keeps_what_the_config_starts_from(streets, tmp_path,
                                                                       monkeypatch):
    first = run(streets, tmp_path / 'first', upto=2)
    cfg = nano(streets, tmp_path / 'second')
    cfg.load_from = str(tmp_path / 'first' / 'iter_2.pth')
    cfg.train_cfg.update(max_iters=1)
    cfg.optim_wrapper.optimizer.lr = 0.
    runner = train(cfg, resume=True)
    assert runner.iter == 1
    for a, b in zip(first.model.parameters(), runner.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_restarted_worker_resumes(streets, tmp_path, monkeypatch):
    run(streets, tmp_path / 'given', upto=2)
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
    given = str(tmp_path / 'given' / 'iter_2.pth')
    assert run(streets, tmp_path / 'new', upto=3, resume=given).iter == 3
    runner = run(streets, tmp_path / 'new', upto=4)  # no --resume, but a restart
    assert runner.iter == 4
    assert 'resumed epoch: 0, iter: 3' in ''.join(
        p.read_text() for p in (tmp_path / 'new').glob('*/*.log'))
    (tmp_path / 'new' / '.started').touch()  # a run that begins afresh, and dies at once
    assert checkpoints.newest_readable(tmp_path / 'new') is not None
    assert checkpoints.newest_readable(tmp_path / 'new', tmp_path / 'new' / '.started') is None


def test_what_killed_runs_left_is_cleared(tmp_path):
    (tmp_path / '.iter_3.pth.ab12').write_bytes(b'half')
    (tmp_path / 'iter_2.pth').write_bytes(b'whole')
    checkpoints.clear_debris(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ['iter_2.pth']


def test_seeds_survive_repeating_and_concatenating(streets):
    from torch.utils.data import ConcatDataset

    class Seen(list):
        def __getitem__(self, index):
            return index

    whole = ConcatDataset([Seen([1, 2, 3]), Seen([4, 5])])
    actual = whole[SeededIndex(4, 77)]
    assert (actual, actual.seed) == (1, 77)
    assert (SeededIndex(7, 5) % 3, (SeededIndex(7, 5) % 3).seed) == (1, 5)


def test_a_full_disk_is_reported_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'fsync', lambda handle: (_ for _ in ()).throw(
        OSError(28, 'No space left on device')))
    with pytest.raises(DiskFullError, match=r'iter_1.pth needs 3.0 MiB, .* MiB are free') as error:
        checkpoints.write_whole(bytes(3 * 2**20), tmp_path / 'iter_1.pth')
    assert error.value.errno == 28
    assert isinstance(error.value, UserError)


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / 'deep' / 'iter_1.pth'
    checkpoints.write_whole(b'old', path)
    monkeypatch.setattr(os, 'fsync', lambda handle: (_ for _ in ()).throw(
        OSError(28, 'No space left on device')))
    with pytest.raises(OSError, match='No space left'):
        checkpoints.write_whole(b'new' * 1000, path)
    assert path.read_bytes() == b'old'
    assert [p.name for p in path.parent.iterdir()] == ['iter_1.pth']


def test_mmengine_writes_through_it(tmp_path, monkeypatch):
    from mmengine.runner.checkpoint import save_checkpoint
    seen = []
    whole = copy.copy(checkpoints.write_whole)
    monkeypatch.setattr(checkpoints, 'write_whole', lambda c, p: seen.append(p) or whole(c, p))
    save_checkpoint(dict(a=torch.ones(2)), str(tmp_path / 'x.pth'),
                    backend_args=dict(backend=checkpoints.LOCAL))
    assert seen == [str(tmp_path / 'x.pth')]
    assert torch.load(tmp_path / 'x.pth', weights_only=True)['a'].tolist() == [1, 1]


def test_what_a_link_points_at_is_written_with_the_user_s_mask(tmp_path):
    from mmvitlin.utils import files
    (tmp_path / 'real').write_text('old')
    (tmp_path / 'link').symlink_to('real')
    files.write_whole(b'new', tmp_path / 'link')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'real').read_text() == 'new'
    assert (tmp_path / 'real').stat().st_mode & 0o777 == 0o666 & ~files._UMASK


def test_options_that_no_checkpoint_has(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match='checkpoint.intervall: there is .*, but interval'):
        HOOKS.build(dict(type='mmvitlin.CheckpointHook', intervall=7))
    cfg, said = Config(dict(work_dir=str(tmp_path), model=dict())), []
    monkeypatch.setattr(run_options, 'print_log', lambda text, **more: said.append(text))
    run_options.apply_options(cfg, resume=True)
    assert not cfg.get('resume')
    assert said[0].startswith(f'--resume: there is no checkpoint in {tmp_path}; the run starts')
