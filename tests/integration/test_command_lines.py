"""The tools as a user calls them, in processes of their own."""
import json
import os
import subprocess
import sys

import pytest
import torch

from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import evaluate
from mmvitlin.engine.runner.options import parse_option
from tests import forked
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

CONFIG = 'configs/seg/cityscapes_1024.py'
# shrunk to what a laptop does in seconds
SHRUNK = [
    'model.backbone.arch=tiny', 'model.backbone.img_size=(64,64)', 'model.neck.in_channels=256',
    'model.decode_head.channels=16',
    'model.auxiliary_head.channels=16',
    'model.data_preprocessor.size=(64,64)',
    'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
    'train_dataloader.dataset.pipeline.2.scale=(128,64)',
    'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
    'val_dataloader.dataset.pipeline.1.scale=(128,64)',
    'test_dataloader.dataset.pipeline.1.scale=(128,64)',
    'val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False',
    'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1',
]


def call(*command, check=True, **env):
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, 'PYTHONWARNINGS': 'ignore', **env})
    return _checked(command, done) if check else done


def python(*command, check=True, **env):
    done = forked.python(*command, env=env)
    return _checked(command, done) if check else done


def _checked(command, done):
    if done.returncode:
        pytest.fail(f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}')
    return done


def metrics_of(config, checkpoint, work, options):
    """What tools/test.py writes, without a process of its own."""
    pairs = [option.split('=', 1) for option in options]
    cfg = load_config(str(ROOT / config), {k: parse_option(k, v) for k, v in pairs}, str(work))
    evaluate(cfg, str(checkpoint))
    return json.loads((work / 'test_result.json').read_text())['metrics']


@pytest.fixture(scope='module')
def trained(streets, tmp_path_factory):
    """A two-iteration run of the front door config."""
    work = tmp_path_factory.mktemp('cityscapes')
    student = work / 'student.pth'
    from mmvitlin.models import Adventurer
    state = Adventurer('tiny').state_dict()
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in state.items()}}, student)
    options = [f'data_root={streets}', f'model.backbone.init_cfg.checkpoint={student}', *SHRUNK]
    python('tools/train.py', CONFIG, '--work-dir', work, '--cfg-options', *options)
    return work, options


def test_the_front_door_config_trains_and_validates(trained):
    work, _ = trained
    result = json.loads((work / 'result.json').read_text())
    assert result['iterations'] == 2
    assert 0 <= result['metrics']['mIoU'] <= 100
    assert (work / 'iter_2.pth').is_file()


def test_testing_gives_the_same_metrics(trained, tmp_path):
    work, options = trained
    python('tools/test.py', CONFIG, work / 'iter_2.pth', '--work-dir', tmp_path, '--cfg-options',
           *options)
    again = json.loads((tmp_path / 'test_result.json').read_text())['metrics']
    assert again == json.loads((work / 'result.json').read_text())['metrics']


def test_a_checkpoint_that_does_not_fill_the_model_is_not_evaluated(trained, tmp_path):
    work, options = trained
    done = python('tools/test.py', CONFIG, work / 'student.pth', '--work-dir', tmp_path,
                  '--cfg-options', *options, check=False)
    assert done.returncode == 2
    assert "is no checkpoint of this config's model" in done.stderr
    assert not (tmp_path / 'test_result.json').exists()


def test_two_processes_on_the_cpu(trained, tmp_path):
    work, options = trained
    out = call('bash', 'tools/dist_train.sh', CONFIG, '2', '--work-dir', tmp_path, '--cfg-options',
               *options, PORT='29655', OMP_NUM_THREADS='1',
               PATH=f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}')
    assert json.loads((tmp_path / 'result.json').read_text())['iterations'] == 2, out.stdout
    # every process validated the network that was saved, running statistics and all
    assert metrics_of(CONFIG, tmp_path / 'iter_2.pth', tmp_path / 'alone', options) == \
        json.loads((tmp_path / 'result.json').read_text())['metrics']
    tested = tmp_path / 'tested'
    call('bash', 'tools/dist_test.sh', CONFIG, work / 'iter_2.pth', '2', '--work-dir', tested,
         '--cfg-options', *options, PORT='29656', OMP_NUM_THREADS='1',
         PATH=f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}')
    # three scenes on two processes: the metric must not count the padding
    assert json.loads((tested / 'test_result.json').read_text())['metrics'] == \
        json.loads((work / 'result.json').read_text())['metrics']


CLASSIFY = ['train_cfg.max_epochs=1', 'train_dataloader.num_workers=0',
            'train_dataloader.persistent_workers=False', 'train_dataloader.batch_size=5',
            'default_hooks.logger.interval=1']


def test_distilling_and_fine_tuning_through_mmpretrain(streets, tmp_path):
    root = f'data_root={streets}/objects'
    python('tools/train.py', 'configs/distill/linearizer_adventurer-tiny_in1k-224.py', '--work-dir',
           tmp_path / 'distill', '--cfg-options', root, *CLASSIFY,
           'model.teacher.backbone.model_name=vit_tiny_patch16_224',
           'model.teacher.backbone.pretrained=False', 'allow_random_weights=True')
    student = tmp_path / 'distill' / 'student.pth'
    python('tools/train.py', 'configs/cls/adventurer-tiny_in1k-224.py', '--work-dir',
           tmp_path / 'cls', '--cfg-options', root, *CLASSIFY, 'model.head.num_classes=10',
           'data_preprocessor.num_classes=10', 'val_dataloader.num_workers=0',
           'val_dataloader.persistent_workers=False',
           f'model.backbone.init_cfg.checkpoint={student}')
    result = json.loads((tmp_path / 'cls' / 'result.json').read_text())
    assert 0 <= result['metrics']['accuracy/top1'] <= 100


@pytest.mark.parametrize(('arguments', 'words'), [
    (['configs/seg/cityscapes_1024.py', '--cfg-options', 'data_root=nowhere'],
     "error: train_dataloader.dataset.data_root: no folder 'nowhere'"),
    (['configs/distill/linearizer_adventurer-nano_streets.py', '--cfg-options', 'data_root=tests',
      'train_dataloader.dataset.data_prefix.img_path=ops', 'model.teacher.checkpoint=None',
      'train_dataloader.dataset.img_suffix=.py', 'allow_random_weights=True',
      'model.objectives.mask.type=mmvitlin.MaskLoss'], 'error: the config cannot be built'),
    (['configs/seg/none.py'], 'error: no config file at configs/seg/none.py'),
])
def test_mistakes_are_one_line(arguments, words, tmp_path):
    done = python('tools/train.py', *arguments, '--work-dir', tmp_path, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_broken_image_stops_training_by_name(trained, streets, tmp_path):
    import shutil
    _, options = trained
    root = tmp_path / 'data'
    shutil.copytree(streets, root)
    for path in (root / 'leftImg8bit' / 'train').rglob('*.png'):
        path.write_bytes(path.read_bytes()[:3000])
    options = [o for o in options if not o.startswith('data_root')]
    done = python('tools/train.py', CONFIG, '--work-dir', tmp_path / 'w', '--cfg-options',
                  f'data_root={root}', *options, check=False)
    assert done.returncode == 2
    assert 'cannot be decoded' in done.stderr
    assert '_leftImg8bit.png' in done.stderr
    assert 'Traceback' not in done.stderr


def test_make_streets(tmp_path):
    done = python('tools/make_streets.py', tmp_path, '--train', 2, '--val', 1, '--size', 32, 64,
                  '--objects', 1)
    assert 'written to' in done.stdout
    assert len(list(tmp_path.rglob('*_leftImg8bit.png'))) == 3
    assert len(list((tmp_path / 'objects').rglob('*.jpg'))) == 20
    (tmp_path / 'file').touch()
    done = python('tools/make_streets.py', tmp_path / 'file' / 'x', check=False)
    assert done.returncode == 2
    assert f'error: cannot write to {tmp_path}/file/x: Not a directory; choose another' \
        in done.stderr


def test_convert_checkpoint(tmp_path):
    from mmvitlin.models import Adventurer
    net = Adventurer(dict(embed_dims=32, num_layers=4), img_size=64)
    torch.save({'model': net.state_dict()}, tmp_path / 'in.pth')
    done = python('tools/convert_checkpoint.py', tmp_path / 'in.pth', tmp_path / 'out.pth')
    assert 'keys matched' in done.stdout
    assert "arch={'embed_dims': 32, 'num_layers': 4}" in done.stdout
    done = python('tools/convert_checkpoint.py', tmp_path / 'no.pth', tmp_path / 'x', check=False)
    assert done.returncode == 2
    assert 'error: no checkpoint at' in done.stderr
