"""Sharded training computes and saves what unsharded training does."""
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
import torch

from mmvitlin.engine.config import load_config
from mmvitlin.engine.launch import train
from mmvitlin.errors import ConfigError
from tests.conftest import ROOT

DISTILL = 'configs/distill/linearizer_adventurer-nano_streets.py'
ALIGN = 'configs/distill/adala-attention_vit-nano_streets.py'
SEGMENT = 'configs/seg/streets_adventurer-nano.py'
needs_deepspeed = pytest.mark.skipif(
    find_spec('deepspeed') is None, reason="needs DeepSpeed: pip install 'mmvitlin[deepspeed]'")
SMALL = ['train_cfg.max_iters=4', 'default_hooks.checkpoint.interval=2',
         'default_hooks.checkpoint.max_keep_ckpts=3', 'train_dataloader.num_workers=0',
         'train_dataloader.persistent_workers=False']


def sharded(config, folder, switch='fsdp', extra=''):
    """A config with a switch beside it."""
    path = folder / f'{switch}.py'
    path.write_text(f"_base_ = ['{ROOT}/{config}', '{ROOT}/configs/_base_/switches/{switch}.py']\n"
                    + extra)
    return path


def start(config, work, streets, processes, *options, resume=None):
    """Train with a global batch of four, in a group of processes of its own."""
    command = [sys.executable] if processes == 1 else [
        sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', str(processes),
        '--standalone']
    command += ['tools/train.py', str(config), '--work-dir', str(work)]
    command += [] if processes == 1 else ['--launcher', 'pytorch']
    command += ['--resume', str(resume)] if resume else []
    return subprocess.Popen(
        [*command, '--cfg-options', f'data_root={streets}', *SMALL,
         f'train_dataloader.batch_size={4 // processes}', *options], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, 'PYTHONWARNINGS': 'ignore', 'OMP_NUM_THREADS': '1'})


def run(*args, resume=None):
    """The last checkpoint of a run."""
    child = start(*args, resume=resume)
    told = child.communicate(timeout=300)
    assert child.returncode == 0, f'{told[0][-1000:]}\n{told[1][-3000:]}'
    return torch.load(args[1] / 'iter_4.pth', weights_only=False)


def gap(one, other):
    """Largest difference of the weights, and of the optimiser's first moments."""
    a, b = one['state_dict'], other['state_dict']
    assert a.keys() == b.keys()
    assert all(type(v) is torch.Tensor and v.shape == b[k].shape for k, v in a.items())
    x, y = one['optimizer'], other['optimizer']
    assert x['state'].keys() == y['state'].keys()
    assert [g['weight_decay'] for g in x['param_groups']] == \
        [g['weight_decay'] for g in y['param_groups']]
    return (max((v.float() - b[k].float()).abs().max().item() for k, v in a.items()),
            max((v['exp_avg'] - y['state'][n]['exp_avg']).abs().max().item()
                for n, v in x['state'].items()))


@pytest.mark.slow
def test_sharded_distillation_is_the_unsharded_one_and_goes_on_from_it(streets, tmp_path):
    """Clipping by the norm of all gradients and weight decay by shape among it, half way through
    in either direction; the student is whole."""
    config = sharded(DISTILL, tmp_path)
    free = 'model.teacher.checkpoint=None'
    alone = run(DISTILL, tmp_path / 'alone', streets, 1, free)
    dealt = run(config, tmp_path / 'dealt', streets, 2, free)
    assert max(gap(alone, dealt)) < 2e-6
    student = torch.load(tmp_path / 'dealt/student.pth', weights_only=True)['state_dict']
    assert all(torch.equal(v, dealt['state_dict'][k]) for k, v in student.items())
    assert len(student) == sum(k.startswith('backbone.') for k in dealt['state_dict']) - 1
    for folder, source, *how in (('there', 'alone', config, 2), ('back', 'dealt', DISTILL, 1)):
        again = run(how[0], tmp_path / folder, streets, how[1], free,
                    resume=tmp_path / source / 'iter_2.pth')
        assert max(gap(alone, again)) < 2e-6


@pytest.mark.slow
def test_sharded_segmentation_validates_and_is_tested_as_any_other(streets, tmp_path):
    options = ['train_cfg.val_interval=2', 'val_dataloader.num_workers=0',
               'val_dataloader.persistent_workers=False',
               'default_hooks.checkpoint.save_best=mIoU']
    dealt = run(sharded(SEGMENT, tmp_path), tmp_path / 'dealt', streets, 2, *options)
    both = run(SEGMENT, tmp_path / 'both', streets, 2, *options)
    weights, moments = gap(dealt, both)
    assert weights < 5e-3  # Adam turns rounding of the smallest gradients into steps of its own
    assert moments < 1e-4
    for path in (tmp_path / 'dealt').glob('*iter_*.pth'):  # the best ones, after validation, too
        at = int(path.stem.split('_')[-1])
        assert torch.load(path, weights_only=False)['meta']['iter'] == at, path
    done = subprocess.run(
        [sys.executable, 'tools/test.py', SEGMENT, tmp_path / 'dealt/iter_4.pth', '--work-dir',
         tmp_path / 'test', '--cfg-options', f'data_root={streets}',
         'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False'],
        cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    scores = [(tmp_path / name).read_text().split('"mIoU": ')[1].split(',')[0]
              for name in ('dealt/result.json', 'test/test_result.json')]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_what_does_not_fit_is_left_out_and_said(streets, tmp_path):
    """Weights of another number of classes, positions of another grid, keys of nobody."""
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope
    cfg = Config.fromfile(ROOT / SEGMENT).model
    cfg.backbone.img_size, cfg.decode_head.num_classes = (64, 64), 7
    init_default_scope('mmseg')
    state = MODELS.build(cfg).state_dict()
    torch.nn.init.ones_(state['backbone.pos_embed'])
    torch.save(dict(state, **{'other.weight': torch.ones(2)}), tmp_path / 'other.pth')
    for switch in ['fsdp'] + ['deepspeed'] * (find_spec('deepspeed') is not None):
        work = tmp_path / switch
        found = run(sharded(SEGMENT, tmp_path, switch), work, streets, 2,
                    f'load_from={tmp_path}/other.pth', 'train_cfg.val_interval=9')
        assert (found['state_dict']['backbone.pos_embed'] - 1).abs().max() < 0.01
        log = next(work.glob('2*/*.log')).read_text()
        assert 'of another shape: decode_head.conv_seg.bias, decode_head.conv_seg.weight' in log
        assert 'not in the model: other.weight' in log


def test_windows_are_no_rounds_of_talk_between_processes():
    from mmvitlin.engine.sharding import ShardedStrategy
    from mmvitlin.models import Adventurer
    model = torch.nn.Module()
    model.backbone = Adventurer(dict(embed_dims=32, num_layers=2), 32, 16)
    strategy = ShardedStrategy.__new__(ShardedStrategy)
    strategy.units = 'auto'
    assert len(strategy._units(model)) == 2
    model.test_cfg = dict(mode='slide')
    assert strategy._units(model) == []
    strategy.units = 'blocks'
    with pytest.raises(ConfigError, match=r"equally often \(test_cfg.mode='slide'\); take units"):
        strategy._units(model)


@pytest.mark.slow
def test_alignment_of_attention_alone_is_sharded_as_one(streets, tmp_path):
    """It runs attention out of its blocks, whose parameters would be in pieces."""
    free = 'model.teacher.checkpoint=None'
    dealt = run(sharded(ALIGN, tmp_path), tmp_path / 'dealt', streets, 2, free)
    both = run(ALIGN, tmp_path / 'both', streets, 2, free)
    assert max(gap(dealt, both)) < 2e-6


@pytest.mark.slow
@needs_deepspeed
def test_deepspeed_in_bfloat16_is_near_and_its_checkpoints_are_plain(streets, tmp_path):
    config = sharded(DISTILL, tmp_path, 'deepspeed')
    free = 'model.teacher.checkpoint=None'
    alone = run(DISTILL, tmp_path / 'alone', streets, 1, free)
    dealt = run(config, tmp_path / 'dealt', streets, 2, free)
    assert {v.dtype for v in dealt['state_dict'].values()} == {torch.float32}
    assert max(gap(alone, dealt)) < 2e-3
    again = run(config, tmp_path / 'again', streets, 2, free,
                resume=tmp_path / 'dealt/iter_2.pth')
    assert gap(dealt, again) == (0., 0.)
    back = run(DISTILL, tmp_path / 'back', streets, 1, free,
               resume=tmp_path / 'dealt/iter_2.pth')
    assert {float(v['step']) for v in back['optimizer']['state'].values()} == {4.}
    assert max(gap(alone, back)) < 2e-3
    student = torch.load(tmp_path / 'dealt/student.pth', weights_only=True)
    assert student['meta']['normalisation']['mean'] == [123.675, 116.28, 103.53]


HELPERS = """
import os, time
import torch
from mmengine.hooks import Hook
from mmcv.transforms import BaseTransform
from mmengine.registry import HOOKS, TRANSFORMS


@HOOKS.register_module()
class Steep(Hook):
    '''One process meets an infinite slope in the third step.'''

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx != 2 or os.environ['RANK'] != '1':
            return
        head = next(m for n, m in runner.model.named_modules() if n.endswith('head.conv_seg'))
        self.handle = head.register_forward_hook(lambda m, a, y: y + (0 * y).abs().sqrt())

    def after_train_iter(self, runner, batch_idx, **kwargs):
        if batch_idx == 2 and os.environ['RANK'] == '1':
            self.handle.remove()


@TRANSFORMS.register_module()
class Slow(BaseTransform):
    def transform(self, results):
        time.sleep(1.)
        return results
"""
SWITCHES = pytest.mark.parametrize('switch', ['fsdp', pytest.param(
    'deepspeed', marks=needs_deepspeed)])


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    """What configs import."""
    folder = tmp_path / 'modules'
    folder.mkdir()
    (folder / 'sharding_helpers.py').write_text(HELPERS)
    monkeypatch.setenv('PYTHONPATH', f"{folder}:{os.environ.get('PYTHONPATH', '')}")
    return "custom_imports = dict(imports=['sharding_helpers'])\n"


@pytest.mark.slow
@SWITCHES
def test_a_gradient_that_is_no_number_reaches_no_weight(streets, tmp_path, helpers, switch):
    """It is met by one process, and the step skipped by all."""
    config = sharded(SEGMENT, tmp_path, switch, helpers + """
custom_hooks = [dict(type='mmvitlin.FiniteLossHook', action='skip'), dict(type='Steep')]
""")
    found = run(config, tmp_path / 'work', streets, 2, 'train_cfg.val_interval=9')
    assert all(v.isfinite().all() for v in found['state_dict'].values())
    assert {float(v['step']) for v in found['optimizer']['state'].values()} == {3.}
    log = next((tmp_path / 'work').glob('2*/*.log')).read_text()
    assert 'step skipped (1 in a row): process 0: the norm of the gradient is nan at iter' in log


@pytest.mark.slow
@SWITCHES
def test_a_signal_while_the_loader_is_waited_for(streets, tmp_path, helpers, switch):
    """The whole group gets it, as from a terminal: what is done is saved."""
    steps = load_config(str(ROOT / SEGMENT)).train_dataloader.dataset.pipeline
    slow = [dict(type='Slow'), *map(dict, steps)]
    config = sharded(SEGMENT, tmp_path, switch,
                     f'{helpers}train_dataloader = dict(dataset=dict(pipeline={slow}))')
    options = ['train_cfg.val_interval=9', 'train_dataloader.num_workers=1',
               'default_hooks.checkpoint.interval=9', 'default_hooks.logger.interval=1']
    child = start(config, tmp_path / 'work', streets, 2, *options)
    deadline = time.time() + 120
    while not any('[1/4]' in p.read_text() for p in (tmp_path / 'work').glob('2*/*.log')):
        assert child.poll() is None, child.communicate()[1][-3000:]
        assert time.time() < deadline
        time.sleep(0.2)
    os.killpg(child.pid, signal.SIGTERM)
    told = child.communicate(timeout=60)[0]
    saved, = (tmp_path / 'work').glob('iter_*.pth')
    done = int(saved.stem.removeprefix('iter_'))
    assert done < 4
    assert f'ended by SIGTERM after iteration {done}' in told
    content = torch.load(saved, weights_only=False)
    assert content['meta']['iter'] == done
    assert {float(v['step']) for v in content['optimizer']['state'].values()} == {float(done)}


@pytest.mark.slow
@SWITCHES
def test_learning_rates_follow_the_global_batch(streets, tmp_path, switch):
    config = sharded(SEGMENT, tmp_path, switch, 'auto_scale_lr = dict(enable=True)\n')
    usual, scaled = (run(config, tmp_path / str(base), streets, 2, 'train_cfg.val_interval=9',
                         f'auto_scale_lr.base_batch_size={base}') for base in (4, 2))
    for one, other in zip(usual['optimizer']['param_groups'], scaled['optimizer']['param_groups'],
                          strict=True):
        assert other['initial_lr'] == pytest.approx(2 * one['initial_lr'])
        assert other['lr'] == pytest.approx(2 * one['lr'])


@SWITCHES
def test_batch_norm_is_synchronised_where_the_config_says_so(tmp_path, monkeypatch, switch):
    """On a GPU: torch has no other."""
    from mmengine.registry import STRATEGIES

    from mmvitlin.engine import sharding
    cfg = load_config(str(sharded(SEGMENT, tmp_path, switch, "sync_bn = 'torch'\n")))
    cfg.launcher = 'pytorch'
    with monkeypatch.context() as on_a_gpu:
        on_a_gpu.setattr(torch.cuda, 'is_available', lambda: True)
        sharding.prepare(cfg)
    assert cfg.strategy.sync_bn == 'torch'
    strategy = STRATEGIES.get(cfg.strategy.pop('type'))
    monkeypatch.setattr(strategy, '_setup_env', lambda *args, **kwargs: None)
    monkeypatch.setattr(strategy, '_timestamp', 'now', raising=False)
    built = strategy(work_dir=tmp_path, **cfg.strategy)
    convert = built.build_model if switch == 'deepspeed' else built.convert_model
    model = convert(torch.nn.Sequential(torch.nn.BatchNorm2d(3)))
    assert isinstance(model[0], torch.nn.SyncBatchNorm)


@pytest.mark.parametrize(('switch', 'extra', 'launcher', 'words'), [
    ('fsdp', '', 'none', 'ShardedStrategy shards the model over processes; start it with'),
    ('fsdp', "strategy = dict(type='FSDPStrategy')", 'pytorch', "mmengine's FSDPStrategy flattens"),
    ('fsdp', "custom_hooks = [dict(type='EMAHook')]", 'pytorch', 'an EMAHook copies the model'),
    ('deepspeed', '', 'pytorch', r"not installed; pip install 'mmvitlin\[deepspeed\]'"),
])
def test_what_cannot_be_sharded(streets, tmp_path, monkeypatch, switch, extra, launcher, words):
    monkeypatch.setattr('mmvitlin.engine.zero.find_spec', lambda name: None)
    cfg = load_config(str(sharded(SEGMENT, tmp_path, switch, extra)), {'data_root': str(streets)},
                      str(tmp_path / 'work'))
    with pytest.raises(ConfigError, match=words):
        train(cfg, launcher=launcher)


def test_zero_of_the_third_stage_is_refused():
    from mmvitlin.engine.zero import DeepSpeedStrategy
    with pytest.raises(ConfigError, match='stage must be 1 or 2, got 3; to shard parameters too'):
        DeepSpeedStrategy(zero_optimization=dict(stage=3))
