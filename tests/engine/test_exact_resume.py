"""A run that is cut and resumed ends with the very weights of one that was not."""
import copy
import os
import pickle
import signal
import subprocess
import sys
import time
from itertools import islice

import pytest
import torch
from mmengine.dataset import InfiniteSampler

from mmvitlin.datasets.seeding import SeededIndex, SeededInfiniteSampler, SeededSampler
from mmvitlin.engine import checkpoints
from mmvitlin.engine.launch import train
from mmvitlin.errors import CheckpointError
from mmvitlin.models.utils import read_state_dict
from tests.conftest import ROOT
from tests.engine.test_launch import nano


def test_the_sampler_keeps_the_order_and_adds_seeds():
    data = list(range(7))
    plain, seeded = InfiniteSampler(data, seed=3), SeededInfiniteSampler(data, seed=3)
    want, got = list(islice(plain, 20)), list(islice(seeded, 20))
    assert want == got
    assert len({i.seed for i in got}) == 20
    again = SeededInfiniteSampler(data, seed=3)
    again.skip(9)
    assert [i.seed for i in islice(again, 11)] == [i.seed for i in got[9:]]
    other = list(islice(SeededInfiniteSampler(data, seed=4), 20))
    assert not {i.seed for i in other} & {i.seed for i in got}
    copied = pickle.loads(pickle.dumps(got[5]))
    assert (copied, copied.seed) == (got[5], got[5].seed)


def test_epochs_have_seeds_of_their_own():
    sampler = SeededSampler(list(range(5)), seed=1)
    first = [i.seed for i in sampler]
    sampler.set_epoch(1)
    assert not set(first) & {i.seed for i in sampler}


def test_augmentations_follow_the_seed_and_not_the_process(streets):
    from mmengine.registry import DATASETS, init_default_scope
    init_default_scope('mmseg')
    cfg = nano(streets, 'w')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    draw = [dataset[SeededIndex(2, seed)]['inputs'] for seed in (5, 6, 5)]
    assert torch.equal(draw[0], draw[2])
    assert not torch.equal(draw[0], draw[1])


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
    Path(sys.argv[0] if False else r'{folder}', 'at').write_text(str(runner.iter))
    time.sleep(0.4)
mmengine.hooks.ParamSchedulerHook.after_train_iter = slowly
run(r'{streets}', Path(r'{folder}'))
"""


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_killed_at_some_moment(streets, tmp_path, undisturbed, number):
    child = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', SCRIPT.format(
        folder=tmp_path, streets=streets)], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env=dict(os.environ, OMP_NUM_THREADS='2'))
    for _ in range(1200):
        if (tmp_path / 'at').is_file() and (tmp_path / 'at').read_text() == '3':
            break
        time.sleep(0.05)
    child.send_signal(number)
    told = child.communicate(timeout=60)[1]
    if number == signal.SIGKILL:
        assert child.returncode == -number
    else:
        assert child.returncode == 128 + number, told
        assert 'ending after this step' in told
        assert (tmp_path / 'iter_4.pth').is_file()
    assert not (tmp_path / 'iter_6.pth').exists()
    run(streets, tmp_path, resume=True)
    assert_equal(weights(tmp_path), undisturbed)


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
    checkpoints.install()
    seen = []
    whole = copy.copy(checkpoints.write_whole)
    monkeypatch.setattr(checkpoints, 'write_whole', lambda c, p: seen.append(p) or whole(c, p))
    save_checkpoint(dict(a=torch.ones(2)), str(tmp_path / 'x.pth'))
    assert seen == [str(tmp_path / 'x.pth')]
    assert torch.load(tmp_path / 'x.pth', weights_only=True)['a'].tolist() == [1, 1]
