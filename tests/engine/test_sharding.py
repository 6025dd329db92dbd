"""Sharded training computes and saves what unsharded training does."""
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
import torch

from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import evaluate, train
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.engine.two_processes import SMALL, launch, run

DISTILL = 'configs/distill/linearizer_adventurer-nano_streets.py'
ALIGN = 'configs/distill/adala-attention_vit-nano_streets.py'
SEGMENT = 'configs/seg/fcn_adventurer-nano_streets.py'
FREE = dict(model__teacher__checkpoint=None)
HELPERS = "custom_imports = dict(imports=['tests.engine.sharded_steps'])\n"
needs_deepspeed = pytest.mark.skipif(
    find_spec('deepspeed') is None, reason="needs DeepSpeed: pip install 'mmvitlin[deepspeed]'")
SWITCHES = pytest.mark.parametrize('switch', ['fsdp', pytest.param(
    'deepspeed', marks=needs_deepspeed)])


def sharded(config, folder, switch='fsdp', extra='', name=None):
    """A config with a switch beside it."""
    path = folder / f'{name or switch}.py'
    path.write_text(f"_base_ = ['{ROOT}/{config}', '{ROOT}/configs/_base_/switches/{switch}.py']\n"
                    + extra)
    return path


class Runs:
    """Runs in two processes under a switch, by name: a folder each."""

    def __init__(self, switch, streets, folder):
        self.switch, self.streets, self.folder, self.jobs = switch, streets, folder, []

    def add(self, name, config, extra='', switched=True, **options):
        if switched:
            config = sharded(config, self.folder, self.switch, extra, name)
        self.jobs.append(dict(config=config, work=self.folder / name, streets=self.streets,
                              **options))

    def alone(self, name, config, **options):
        """Train in this process, unsharded."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            run(ROOT / config, self.folder / name, self.streets, **options)
        finally:
            torch.set_num_threads(threads)
        return self[name]

    def __getitem__(self, name):
        return torch.load(self.folder / name / 'iter_4.pth', weights_only=False)

    def log(self, name):
        return next((self.folder / name).glob('2*/*.log')).read_text()


def of_either(runs):
    """What both ways to shard must do."""
    unvalidated = dict(train_cfg__val_interval=9)
    runs.alone('alone', DISTILL, **FREE)
    runs.add('distilled', DISTILL, **FREE)
    runs.add('misfit', SEGMENT, load_from=misfit(runs.folder), **unvalidated)
    runs.add('steep', SEGMENT, HELPERS + "default_hooks = dict(finite_loss=dict(action='skip'))\n"
             "custom_hooks = [dict(type='Steep')]\n", **unvalidated)
    runs.add('scaled', SEGMENT, 'auto_scale_lr = dict(enable=True, base_batch_size=2)\n',
             **unvalidated)


def misfit(folder):
    """Weights of another number of classes, positions of another grid, keys of nobody."""
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope
    cfg = Config.fromfile(ROOT / SEGMENT).model
    cfg.backbone.img_size, cfg.decode_head.num_classes = (64, 64), 7
    init_default_scope('mmseg')
    state = MODELS.build(cfg).state_dict()
    torch.nn.init.ones_(state['backbone.pos_embed'])
    torch.save(dict(state, **{'other.weight': torch.ones(2)}), folder / 'other.pth')
    return folder / 'other.pth'


@pytest.fixture(scope='module')
def fsdp(streets, tmp_path_factory):
    runs = Runs('fsdp', streets, tmp_path_factory.mktemp('fsdp'))
    of_either(runs)
    runs.add('there', DISTILL, resume=runs.folder / 'alone/iter_2.pth', **FREE)
    validated = dict(train_cfg__val_interval=2, val_dataloader__num_workers=0,
                     val_dataloader__persistent_workers=False,
                     default_hooks__checkpoint__save_best='mIoU')
    runs.add('segmented', SEGMENT, **validated)
    runs.add('segmented-unsharded', SEGMENT, switched=False, **validated)
    runs.add('aligned', ALIGN, **FREE)
    runs.add('aligned-unsharded', ALIGN, switched=False, **FREE)
    accumulated = dict(optim_wrapper__accumulative_counts=4, train_cfg__val_interval=9)
    runs.add('whole', SEGMENT, **accumulated)
    runs.add('again', SEGMENT, resume=runs.folder / 'whole/iter_2.pth', **accumulated)
    launch(runs.jobs, runs.folder)
    return runs


@pytest.fixture(scope='module')
def deepspeed(streets, tmp_path_factory):
    runs = Runs('deepspeed', streets, tmp_path_factory.mktemp('deepspeed'))
    of_either(runs)
    runs.add('again', DISTILL, resume=runs.folder / 'distilled/iter_2.pth', **FREE)
    launch(runs.jobs, runs.folder)
    return runs


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
def test_sharded_distillation_equals_the_unsharded_one_and_resumes_from_it(fsdp):
    """Clipping by the norm of all gradients and weight decay by shape among it, half way through
    in either direction; the student is whole."""
    alone, sharded = fsdp['alone'], fsdp['distilled']
    assert max(gap(alone, sharded)) < 2e-6
    student = torch.load(fsdp.folder / 'distilled/student.pth', weights_only=True)['state_dict']
    assert all(torch.equal(v, sharded['state_dict'][k]) for k, v in student.items())
    assert len(student) == sum(k.startswith('backbone.') for k in sharded['state_dict']) - 1
    assert max(gap(alone, fsdp['there'])) < 2e-6
    back = fsdp.alone('back', DISTILL, resume=fsdp.folder / 'distilled/iter_2.pth', **FREE)
    assert max(gap(alone, back)) < 2e-6


@pytest.mark.slow
def test_sharded_segmentation_validates_and_is_tested_as_any_other(fsdp, tmp_path):
    weights, moments = gap(fsdp['segmented'], fsdp['segmented-unsharded'])
    assert weights < 5e-3  # Adam turns rounding of the smallest gradients into steps of its own
    assert moments < 1e-4
    saved = list((fsdp.folder / 'segmented').glob('*iter_*.pth'))
    assert any(path.stem.startswith('best') for path in saved)
    for path in saved:  # the best ones, after validation, too
        at = int(path.stem.split('_')[-1])
        assert torch.load(path, weights_only=False)['meta']['iter'] == at, path
    evaluate(load_config(SEGMENT, {
        'data_root': str(fsdp.streets), 'test_dataloader.num_workers': 0,
        'test_dataloader.persistent_workers': False}, str(tmp_path)),
        str(fsdp.folder / 'segmented/iter_4.pth'))
    scores = [path.read_text().split('"mIoU": ')[1].split(',')[0] for path in (
        fsdp.folder / 'segmented/result.json', tmp_path / 'test_result.json')]
    assert scores[0] == scores[1]


@pytest.mark.slow
@SWITCHES
def test_what_does_not_fit_is_left_out_and_reported(request, switch):
    """Weights of another number of classes, positions of another grid, keys of nobody."""
    runs = request.getfixturevalue(switch)
    assert (runs['misfit']['state_dict']['backbone.pos_embed'] - 1).abs().max() < 0.01
    log = runs.log('misfit')
    assert 'of another shape: decode_head.conv_seg.bias, decode_head.conv_seg.weight' in log
    assert 'not in the model: other.weight' in log


def test_windows_are_no_rounds_of_talk_between_processes():
    from mmvitlin.engine.strategies.sharding import ShardedStrategy
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
def test_attention_alignment_is_sharded_as_one_unit(fsdp):
    """It runs attention out of its blocks, whose parameters would be in pieces."""
    assert max(gap(fsdp['aligned'], fsdp['aligned-unsharded'])) < 2e-6


@pytest.mark.slow
def test_a_sharded_run_cut_between_two_updates_ends_with_the_same_weights(fsdp):
    cut = torch.load(fsdp.folder / 'whole/iter_2.pth', weights_only=False)
    parts, own = cut['gradient_accumulation']['gradients'], cut['state_dict']
    assert len(parts) == 2  # of each process its part of every gradient
    assert all(sum(part[k].numel() for part in parts) == own[k].numel() for k in parts[0])
    assert gap(fsdp['whole'], fsdp['again']) == (0., 0.)


@pytest.mark.slow
@needs_deepspeed
def test_deepspeed_in_bfloat16_is_near_and_its_checkpoints_are_plain(deepspeed):
    alone, sharded = deepspeed['alone'], deepspeed['distilled']
    assert {v.dtype for v in sharded['state_dict'].values()} == {torch.float32}
    assert max(gap(alone, sharded)) < 2e-3
    assert gap(sharded, deepspeed['again']) == (0., 0.)
    back = deepspeed.alone('back', DISTILL, resume=deepspeed.folder / 'distilled/iter_2.pth',
                           **FREE)
    assert {float(v['step']) for v in back['optimizer']['state'].values()} == {4.}
    assert max(gap(alone, back)) < 2e-3
    student = torch.load(deepspeed.folder / 'distilled/student.pth', weights_only=True)
    assert student['meta']['normalisation']['mean'] == [123.675, 116.28, 103.53]


@pytest.mark.slow
@SWITCHES
def test_a_nan_gradient_changes_no_weight(request, switch):
    """It is met by one process, and the step skipped by all."""
    runs = request.getfixturevalue(switch)
    run = runs['steep']
    assert all(v.isfinite().all() for v in run['state_dict'].values())
    assert {float(v['step']) for v in run['optimizer']['state'].values()} == {3.}
    assert 'step skipped (1 in a row): process 0: the norm of the gradient is nan at iter' \
        in runs.log('steep')


def start(config, work, streets, *options):
    """Train in two processes under torchrun, in a group of processes of its own."""
    return subprocess.Popen(
        [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2', '--standalone',
         'tools/train.py', str(config), '--work-dir', str(work), '--launcher', 'pytorch',
         '--cfg-options', f'data_root={streets}', *(f'{k}={v}' for k, v in SMALL.items()),
         'train_dataloader.batch_size=2', *options], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, 'PYTHONWARNINGS': 'ignore', 'OMP_NUM_THREADS': '1',
             'PYTHONPATH': f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"})


@pytest.mark.slow
@SWITCHES
def test_a_signal_while_the_loader_is_waited_for(streets, tmp_path, switch):
    """The whole group gets it, as from a terminal: what is done is saved."""
    steps = load_config(str(ROOT / SEGMENT)).train_dataloader.dataset.pipeline
    slow = [dict(type='Slow'), *map(dict, steps)]
    config = sharded(SEGMENT, tmp_path, switch,
                     f'{HELPERS}train_dataloader = dict(dataset=dict(pipeline={slow}))')
    child = start(config, tmp_path / 'work', streets, 'train_cfg.val_interval=9',
                  'train_dataloader.num_workers=1', 'default_hooks.checkpoint.interval=9',
                  'default_hooks.logger.interval=1')
    deadline = time.time() + 300
    while not any('[1/4]' in p.read_text() for p in (tmp_path / 'work').glob('2*/*.log')):
        assert child.poll() is None, child.communicate()[1][-3000:]
        assert time.time() < deadline
        time.sleep(0.2)
    os.killpg(child.pid, signal.SIGTERM)
    output = child.communicate(timeout=120)[0]
    saved, = (tmp_path / 'work').glob('iter_*.pth')
    done = int(saved.stem.removeprefix('iter_'))
    assert done < 4
    assert f'ended by SIGTERM after iteration {done}' in output
    content = torch.load(saved, weights_only=False)
    assert content['meta']['iter'] == done
    assert {float(v['step']) for v in content['optimizer']['state'].values()} == {float(done)}


@pytest.mark.slow
@SWITCHES
def test_learning_rates_follow_the_global_batch(request, switch):
    """Four images, and the config's rate is for two."""
    runs = request.getfixturevalue(switch)
    lr = load_config(str(ROOT / SEGMENT)).optim_wrapper.optimizer.lr
    usual = runs['steep']['optimizer']['param_groups'][0]
    for group in runs['scaled']['optimizer']['param_groups']:
        assert group['initial_lr'] == pytest.approx(2 * lr)
        assert group['lr'] == pytest.approx(2 * usual['lr'])


@SWITCHES
def test_batch_norm_is_synchronised_where_the_config_says_so(tmp_path, monkeypatch, switch):
    """On a GPU: torch has no other."""
    from mmengine.registry import STRATEGIES

    from mmvitlin.engine.strategies import settings
    cfg = load_config(str(sharded(SEGMENT, tmp_path, switch, "sync_bn = 'torch'\n")))
    cfg.launcher = 'pytorch'
    with monkeypatch.context() as on_a_gpu:
        on_a_gpu.setattr(torch.cuda, 'is_available', lambda: True)
        settings.fill_in(cfg)
        settings.refuse(cfg)
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
    monkeypatch.setattr('mmvitlin.engine.strategies.settings.find_spec', lambda name: None)
    cfg = load_config(str(sharded(SEGMENT, tmp_path, switch, extra)), {'data_root': str(streets)},
                      str(tmp_path / 'work'))
    with pytest.raises(ConfigError, match=words):
        train(cfg, launcher=launcher)


def test_zero_of_the_third_stage_is_refused():
    from mmvitlin.engine.strategies.zero import DeepSpeedStrategy
    with pytest.raises(ConfigError, match='stage must be 1 or 2, got 3; to shard parameters too'):
        DeepSpeedStrategy(zero_optimization=dict(stage=3))
