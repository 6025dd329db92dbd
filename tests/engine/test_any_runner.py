"""A shipped config means the same under MMEngine's Runner, mmseg's script and this package."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvitlin.compat import detection
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import train
from tests.conftest import ROOT

STEPS = 5
ALL = {
    'train_cfg.max_iters': STEPS, 'train_cfg.val_interval': STEPS, 'randomness.seed': 1,
    'default_hooks.logger.interval': 1, 'default_hooks.checkpoint.interval': STEPS,
    'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False,
    'val_dataloader.num_workers': 0, 'val_dataloader.persistent_workers': False,
    'model.backbone.img_size': (64, 128),
    'model.backbone.arch': dict(embed_dims=32, num_layers=2)}
SEG = {
    **ALL, 'model.data_preprocessor.size': (64, 128), 'model.decode_head.in_channels': 32,
    'model.decode_head.channels': 16,
    'train_dataloader.dataset.pipeline.2.scale': (128, 64),
    'train_dataloader.dataset.pipeline.3.crop_size': (64, 128),
    'val_dataloader.dataset.pipeline.1.scale': (128, 64)}
DISTILL = {
    **{k: v for k, v in ALL.items() if 'val_' not in k},
    'model.teacher.checkpoint': None, 'allow_random_weights': True,
    'model.teacher.backbone.img_size': (64, 128), 'model.teacher.backbone.model_kwargs':
        dict(embed_dim=24, depth=2, num_heads=2, patch_size=16),
    'model.objectives.activation.num_stages': 2,
    'train_dataloader.dataset.pipeline.1.scale': (128, 64),
    'train_dataloader.dataset.pipeline.2.crop_size': (64, 128)}
DET = {
    **ALL, 'model.neck.in_channels': 32, 'model.data_preprocessor.batch_augments.0.size': (64, 128),
    'train_dataloader.dataset.pipeline.3.scale': (128, 64),
    'train_dataloader.dataset.pipeline.4.crop_size': (128, 64),
    'val_dataloader.dataset.pipeline.1.scale': (128, 64), 'train_dataloader.batch_size': 2}
CLS = {**{k: v for k, v in ALL.items() if 'img_size' not in k and 'persistent' not in k},
       'train_dataloader.persistent_workers': False, 'model.head.in_channels': 32,
       'train_dataloader.batch_size': 8}
KINDS = {'seg/fcn_adventurer-nano_streets': SEG,
         'distill/linearizer_adventurer-nano_streets': DISTILL,
         'det/mask-rcnn_adventurer-nano_streets-512': DET, 'cls/adventurer-pico_cifar10': CLS}

FOREIGN_RUNNER = '''
import json, os, runpy, sys
from mmengine.config import Config
from mmengine.runner import Runner
runs, replaced = [], []
train, replace = Runner.train, os.replace
Runner.train = lambda self: (runs.append(self), train(self))[1]
os.replace = lambda source, target: (replaced.append(str(target)), replace(source, target))[1]
for name, options in json.load(open('options.json')).items():
    options = {k: eval(v) for k, v in options.items()}
    if name.startswith('seg/'):
        import mmseg
        sys.argv = ['train.py', 'seg.py', '--work-dir', 'library/' + name]
        runpy.run_path(os.path.dirname(mmseg.__file__) + '/.mim/tools/train.py',
                       run_name='__main__')
    else:
        cfg = Config.fromfile(f'%s/configs/{name}.py')
        cfg.merge_from_dict(options)
        cfg.work_dir = 'library/' + name
        Runner.from_cfg(cfg).train()
json.dump([[[type(h).__name__ for h in run.hooks],
            [float(x) for x in run.message_hub.get_scalar('train/loss').data[0]],
            sorted(os.path.basename(p) for p in replaced if p.startswith(run.work_dir))]
           for run in runs], open('library.json', 'w'))
'''


@pytest.fixture
def thumbnails(tmp_path):
    """Ten classes of two images in the layout of CIFAR-10."""
    rng = np.random.default_rng(0)
    for split in ('train', 'test'):
        for label in range(10):
            folder = tmp_path / 'cifar' / split / f'class{label}'
            folder.mkdir(parents=True)
            for n in range(2):
                Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(
                    folder / f'{n}.png')
    return tmp_path / 'cifar'


@pytest.mark.slow  # a process with all libraries, and eight runs of five steps
def test_a_shipped_config_is_the_same_under_every_runner(streets, thumbnails, tmp_path):
    """Hooks, losses of five iterations, and files that are renamed into place."""
    own, given = [], {}
    for name, options in KINDS.items():
        if name.startswith('det/') and detection.lacking():
            continue
        data = thumbnails if name.startswith('cls/') else streets
        loaders = ('train', ) if name.startswith('distill/') else ('train', 'val')
        options = {**options, **{f'{k}_dataloader.dataset.data_root': str(data) for k in loaders}}
        if name.startswith('det/'):
            options['val_evaluator.ann_file'] = str(
                streets / 'annotations/instancesonly_filtered_gtFine_val.json')
        given[name] = {k: repr(v) for k, v in options.items()}
        cfg = load_config(str(ROOT / f'configs/{name}.py'), options, str(tmp_path / 'own' / name))
        if name.startswith('seg/'):
            cfg.dump(tmp_path / 'seg.py')
        run = train(cfg)
        own.append([[type(h).__name__ for h in run.hooks],
                    [float(x) for x in run.message_hub.get_scalar('train/loss').data[0]]])
    (tmp_path / 'options.json').write_text(json.dumps(given))
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', FOREIGN_RUNNER % ROOT], cwd=tmp_path, text=True,
        capture_output=True, env=dict(os.environ, PYTHONPATH=str(ROOT)))
    assert done.returncode == 0, done.stderr[-3000:]
    mmsegs = json.loads((tmp_path / 'library.json').read_text())
    assert len(mmsegs) == len(own) == len(given)
    for name, (hooks, losses), (their_hooks, their_losses, replaced) in zip(
            given, own, mmsegs, strict=True):
        assert sorted(their_hooks) == sorted(hooks), name  # dumped configs sort their keys
        assert len(losses) == STEPS
        assert their_losses == losses, name
        assert f'iter_{STEPS}.pth' in replaced, name
        assert 'result.json' in replaced, name
        assert ('student.pth' in replaced) == name.startswith('distill/')
        assert (Path(tmp_path) / 'library' / name / f'iter_{STEPS}.pth').is_file()
