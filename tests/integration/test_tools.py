"""Small tools: configs printed, data browsed, logs read, checkpoints published, Slurm."""
import json
import os
import stat
import sys

import pytest
import torch
from PIL import Image

from mmvitlin.engine.publishing import publish
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.config_source import chain
from mmvitlin.engine.strategies import distributed
from mmvitlin.utils.errors import CheckpointError, ConfigError
from mmvitlin.visualization.browsing import browse
from mmvitlin.visualization.figures import curves
from mmvitlin.visualization.logs import logged_rows, read_scalars, train_time
from tests.conftest import ROOT
from tests.integration.test_command_lines import call, metrics_of, python


def test_print_config_without_running_it(tmp_path):
    (tmp_path / 'base.py').write_text("a = 1\nopen('ran', 'w').close()\n")
    (tmp_path / 'child.py').write_text("_base_ = ['base.py', 'mmvitlin::_base_/runtime_seg.py']\n")
    shown = python(ROOT / 'tools/print_config.py', tmp_path / 'child.py', '--no-exec')
    assert shown.stdout.index("a = 1") < shown.stdout.index('_base_ = ')
    assert "default_scope = 'mmseg'" in shown.stdout
    assert not (ROOT / 'ran').exists()
    assert not (tmp_path / 'ran').exists()
    whole = python(ROOT / 'tools/print_config.py', 'configs/seg/cityscapes_1024.py',
                   '--cfg-options', 'model.backbone.arch=tiny')
    assert "arch='tiny'" in whole.stdout
    assert 'SimpleFPN' in whole.stdout


@pytest.mark.parametrize(('text', 'words'), [
    ("_base_ = [x for x in 'ab']", 'line 1: _base_ is computed'),
    ("_base_ = './none.py'", r'no config file at .*none.py \(a base of'),
    ("_base_ = './mine.py'", 'inherits from itself'),
    ('a = (', 'line 1'),
])
def test_sources_that_cannot_be_followed(tmp_path, text, words):
    (tmp_path / 'mine.py').write_text(text)
    with pytest.raises(ConfigError, match=words):
        list(chain(str(tmp_path / 'mine.py')))


def test_each_base_is_shown_once():
    paths = [p for p, _ in chain(str(ROOT / 'configs/seg/upernet_vit-base_cityscapes-1024.py'))]
    assert len(paths) == len(set(paths))
    assert paths[-1].name == 'upernet_vit-base_cityscapes-1024.py'


@pytest.mark.parametrize('original', [False, True])
def test_browsing(streets, original):
    cfg = load_config(str(ROOT / 'configs/seg/fcn_adventurer-nano_streets.py'),
                      dict(data_root=str(streets)))
    rows = list(browse(cfg, 'train', original))
    assert len(rows) == 6
    name, _, picture = rows[0]
    assert name.endswith('_leftImg8bit.png')
    assert any('road' in c for _, c, _ in rows)
    height, width = (64, 128) if original else (192, 384)
    assert picture.shape == (height, 2 * width, 3)
    if original:
        file = next(streets.rglob(name))
        assert (picture[:, :width] == Image.open(file).convert('RGB')).all()
    with pytest.raises(ConfigError, match="no split 'training'"):
        next(browse(cfg, 'training'))


def test_browsing_from_the_command_line(streets, tmp_path):
    python('tools/browse_dataset.py', 'configs/distill/linearizer_adventurer-nano_streets.py',
           '-n', '2', '-o', tmp_path, '--cfg-options', f'data_root={streets}',
           'model.teacher.checkpoint=None')
    assert [Image.open(p).size for p in sorted(tmp_path.iterdir())] == [(384, 192)] * 2


@pytest.fixture
def logged(tmp_path):
    folder = tmp_path / 'run' / '20260101' / 'vis_data'
    folder.mkdir(parents=True)
    rows = [dict(loss=2. / i, time=0.5 + 0.1 * (i == 3), data_time=0.1, iter=i, step=i)
            for i in (1, 2, 3)]
    rows.append(dict(mIoU=12., time=99., data_time=9., step=3))
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)))
    return tmp_path / 'run'


def test_logs(logged, tmp_path):
    series = read_scalars(logged)
    by_epoch = tmp_path / 'epochs' / '20200101_000000' / 'vis_data'
    by_epoch.mkdir(parents=True)
    (by_epoch / 'scalars.json').write_text('\n'.join(json.dumps(row) for row in (
        dict(iter=500, time=.1), dict(step=1, top1=40., time=9.),
        dict(iter=1000, time=.1), dict(step=2, top1=50., time=9.))))
    scalars = read_scalars(by_epoch.parents[1])
    assert scalars['top1'] == [(500, 40.), (1000, 50.)]
    assert [v for _, v in scalars['time']] == [.1, .1]
    assert scalars['val/time'][0] == (500, 9.)
    scalars = train_time(logged_rows(logged))
    assert scalars['iterations'] == 3
    assert scalars['seconds'] == pytest.approx(0.5)
    assert scalars['slowest'] == pytest.approx(0.6)
    assert scalars['data_share'] == pytest.approx(0.3 / 1.6, abs=1e-6)
    assert curves(dict(run=series), ['loss', 'mIoU'], tmp_path / 'c.png').is_file()
    with pytest.raises(ConfigError, match="no run logged 'acc'; they logged"):
        curves(dict(run=series), ['acc'], tmp_path / 'c.png')
    with pytest.raises(ConfigError, match='no training iteration'):
        train_time([])
    empty = python('tools/analyze_logs.py', 'cal_train_time', tmp_path, check=False)
    assert empty.returncode == 2
    assert 'holds no logged scalars' in empty.stderr
    assert '0.500' in python('tools/analyze_logs.py', 'cal_train_time', logged).stdout


def test_publishing(tmp_path):
    state = dict(a=torch.ones(2))
    torch.save(dict(state_dict=state, optimizer=dict(x=torch.zeros(1000)), message_hub={},
                    meta=dict(iter=7, normalisation={}, finished=True,
                              cfg="work_dir = 'a/private/folder'")), tmp_path / 'in.pth')
    path = publish(tmp_path / 'in.pth', tmp_path / 'out' / 'net.pth')
    content = torch.load(path, weights_only=True)
    assert set(content) == {'meta', 'state_dict'}
    assert content['meta'] == dict(iter=7, normalisation={}, finished=True)
    assert torch.equal(content['state_dict']['a'], state['a'])
    import hashlib
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f'net-{digest[:8]}.pth'
    torch.save([1], tmp_path / 'list.pth')
    with pytest.raises(CheckpointError, match='holds no state_dict'):
        publish(tmp_path / 'list.pth', tmp_path / 'x')


SRUN = '''#!{python}
# stands in for Slurm: starts --ntasks processes on this machine, as srun would
import os, subprocess, sys
words = sys.argv[1:]
options = dict(w.lstrip('-').split('=', 1) for w in words if w.startswith('--') and '=' in w
            and words.index(w) < words.index('python'))
command = words[words.index('python'):]
assert '-p' in words and options['job-name'] == 'job', words
open({log!r}, 'w').write(' '.join(words))
n = int(options['ntasks'])
each = int(options['ntasks-per-node'])
children = [subprocess.Popen(command, env=dict(
    os.environ, SLURM_PROCID=str(i), SLURM_NTASKS=str(n), SLURM_LOCALID=str(i % each),
    SLURM_NODELIST='node[1-2]')) for i in range(n)]
sys.exit(max(c.wait() for c in children))
'''


@pytest.mark.slow
def test_under_slurm(streets, tmp_path):
    """The scripts against a stand-in for srun and scontrol."""
    tools = tmp_path / 'bin'
    tools.mkdir()
    for name, text in (('srun', SRUN.format(python=sys.executable, log=str(tmp_path / 'said'))),
                       ('scontrol', '#!/bin/sh\necho localhost; echo node2\n')):
        (tools / name).write_text(text)
        (tools / name).chmod((tools / name).stat().st_mode | stat.S_IXUSR)
    env = dict(PATH=f'{tools}:{os.path.dirname(sys.executable)}:{os.environ["PATH"]}',
               GPUS='2', GPUS_PER_NODE='0', TASKS_PER_NODE='1', MASTER_PORT='29761',
               OMP_NUM_THREADS='1')
    options = [f'data_root={streets}', 'train_cfg.max_iters=2',
               'train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2',
               'model.backbone.arch.num_layers=2', 'train_dataloader.batch_size=2']
    config = 'configs/seg/fcn_adventurer-nano_streets.py'
    work = tmp_path / 'work'
    call('bash', 'tools/slurm_train.sh', 'part', 'job', config, work, '--cfg-options', *options,
         **env)
    output = (tmp_path / 'said').read_text()
    assert '--ntasks=2 --ntasks-per-node=1' in output
    assert 'gres' not in output
    result = json.loads((work / 'result.json').read_text())
    assert result['iterations'] == 2
    call('bash', 'tools/slurm_test.sh', 'part', 'job', config, work / 'iter_2.pth', '--work-dir',
         tmp_path / 'tested', '--cfg-options', *options, **{**env, 'MASTER_PORT': '29762'})
    tested = json.loads((tmp_path / 'tested' / 'test_result.json').read_text())
    alone = metrics_of(config, work / 'iter_2.pth', tmp_path / 'alone', options)
    assert tested['metrics'] == alone  # also though two processes share three images


def test_slurm_without_srun(monkeypatch):
    for name in ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"needs \['SLURM_PROCID'.*start it through"):
        distributed.name_slurm_task()
