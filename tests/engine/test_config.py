"""Config files and the options of a command line."""
import sys
from pathlib import Path

import pytest
import torch

from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.run_options import apply_options
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT

CITYSCAPES = 'configs/seg/cityscapes_1024.py'


def test_one_option_moves_every_data_set():
    cfg = load_config(CITYSCAPES, {'data_root': 'elsewhere'})
    roots = {cfg[f'{s}_dataloader'].dataset.data_root for s in ('train', 'val', 'test')}
    assert roots == {'elsewhere'}
    assert cfg.work_dir == 'work_dirs/cityscapes_1024'
    assert load_config(CITYSCAPES, work_dir='x').work_dir == 'x'


def roots_of(path):
    cfg = load_config(str(path))
    return [cfg[f'{s}_dataloader'].dataset.data_root for s in ('train', 'val', 'test')]


def test_a_config_of_ones_own_moves_its_data_sets(tmp_path):
    own, below = tmp_path / 'own.py', tmp_path / 'below.py'
    own.write_text("_base_ = 'mmvitlin::seg/cityscapes_1024.py'\ndata_root = 'data/mine'\n"
                   "val_dataloader = dict(dataset=dict(data_root='data/other'))\n")
    assert roots_of(own) == ['data/mine', 'data/other', 'data/mine']
    below.write_text("_base_ = './own.py'\ndata_root = 'data/yours'\n")
    assert roots_of(below) == ['data/yours', 'data/other', 'data/yours']
    below.write_text("_base_ = './own.py'\ndata_root = '/'.join(('data', 'computed'))\n")
    assert roots_of(below) == ['data/computed', 'data/other', 'data/computed']
    below.write_text("_base_ = './own.py'\n")
    assert roots_of(below) == ['data/mine', 'data/other', 'data/mine']
    own.write_text("_base_ = 'mmvitlin::det/mask-rcnn_adventurer-base_cityscapes-1024.py'\n"
                   "data_root = 'data/mine'\n")
    assert load_config(str(own)).val_evaluator.ann_file.startswith('data/mine/')


def test_a_variable_that_a_base_has_used(tmp_path, monkeypatch):
    own = tmp_path / 'own.py'
    own.write_text("_base_ = 'mmvitlin::seg/cityscapes_1024.py'\ncrop_size = (512, 512)\n")
    said = []
    monkeypatch.setattr('mmvitlin.engine.rules.context.print_log',
                        lambda text, **_: said.append(text))
    load_config(str(own))
    assert "'crop_size' is a variable of its base cityscapes_1024x1024.py" in said[0]
    assert 'set what is made of it, such as' in said[0]
    assert 'backbone.img_size' in said.pop()
    for more in ("model = dict(backbone=dict(img_size=crop_size))", "mine = 3"):
        own.write_text("_base_ = 'mmvitlin::seg/cityscapes_1024.py'\n" + (
            'crop_size = (512, 512)\n' if 'crop_size' in more else '') + more)
        load_config(str(own))
        assert not said


def test_bases_of_other_libraries_resolve(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = ['mmseg::_base_/datasets/cityscapes.py']\n")
    assert load_config(str(path)).dataset_type == 'CityscapesDataset'


def test_a_config_of_a_library_by_name():
    cfg = load_config('mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py')
    assert cfg.model.backbone.type == 'MixVisionTransformer'


def test_an_option_that_would_change_nothing():
    for key, words in {'modell.backbone.arch': r"has no 'modell'; do you mean 'model'\?",
                       'objectives.mask': r'it is in model: model.objectives.mask',
                       'whatever': r"has no 'whatever'; if something of yours reads it"}.items():
        with pytest.raises(ConfigError, match=f'--cfg-options {key}: .*{words}'):
            load_config('configs/distill/linearizer_adventurer-nano_streets.py', {key: 1})
    path = 'configs/seg/cityscapes_1024.py'
    before = load_config(path)
    with pytest.raises(ConfigError, match=r"crop_size: 'crop_size' is a variable of .*; set what "
                                          r"is made of it, such as .*pipeline.*crop_size"):
        load_config(path, {'crop_size': (512, 512)})
    assert load_config(path, {'model.backbone.drop_path_rate': 0.}).keys() == before.keys()
    for key, words in {'vis_backends.0.type': r"'vis_backends' (is a variable|; do)",
                       'data_preprocessor.mean': 'set model.data_preprocessor.mean',
                       'launcher': 'give it as --launcher',
                       'env_cfg.cudn_benchmark': r"env_cfg has \['cudnn_benchmark'"}.items():
        with pytest.raises(ConfigError, match=f'--cfg-options {key}: .*{words}'):
            load_config('mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py', {key: 1})
    for key in ('find_unused_parameters', 'default_hooks.logger.interval', 'visualizer.name',
                'param_scheduler.0.begin', 'env_cfg.mp_cfg.mp_start_method'):
        load_config(path, {key: 1})
    with pytest.raises(ConfigError, match='param_scheduler.7.begin.* do not fit'):
        load_config(path, {'param_scheduler.7.begin': 1})
    moved = load_config(path, {'data_root': 'a', 'val_dataloader.dataset.data_root': 'b'})
    assert (moved.train_dataloader.dataset.data_root, moved.val_dataloader.dataset.data_root) == \
        ('a', 'b')


def test_switches_are_merged_over_a_config(tmp_path):
    path = 'configs/distill/linearizer_adventurer-nano_streets.py'
    plain = load_config(path)
    cfg = load_config(path, {'switches': ['ema', 'save_memory', 'fsdp'],
                             'custom_hooks.0.priority': 'LOW'})
    assert cfg.model.backbone.with_cp
    assert cfg.model.objectives == plain.model.objectives
    assert [h.type for h in cfg.custom_hooks] == [
        *(h.type for h in plain.get('custom_hooks', [])), 'EMAHook']
    assert cfg.custom_hooks[0].priority == 'LOW'
    assert cfg.strategy.type == 'mmvitlin.ShardedStrategy'
    assert 'switches' not in cfg  # a dumped config is whole
    assert Path(cfg.work_dir).name == f'{Path(path).stem}_ema'  # the others change no result
    again = load_config('configs/det/mask-rcnn_adventurer-base_coco-1024.py',
                        {'switches': 'ema'})  # has it of itself
    assert sum(h.type == 'EMAHook' for h in again.custom_hooks) == 1
    (tmp_path / 'own.py').write_text('model = dict(backbone=dict(drop_path_rate=0.3))')
    (tmp_path / 'child.py').write_text(
        f"_base_ = '{ROOT}/{path}'\nswitches = ['save_memory', '{tmp_path}/own.py']")
    child = load_config(str(tmp_path / 'child.py'))
    assert child.model.backbone.with_cp
    assert child.model.backbone.drop_path_rate == 0.3
    for off in ([], '', None):
        assert not load_config(str(tmp_path / 'child.py'), {'switches': off}).model.backbone.get(
            'with_cp')
    (tmp_path / 'child.py').write_text(f"_base_ = '{ROOT}/{path}'\nswitches = ['own.py']")
    assert load_config(str(tmp_path / 'child.py')).model.backbone.drop_path_rate == 0.3
    softmax = 'configs/seg/mask2former_linear-vit-large_cityscapes-1024.py'
    one, other = (load_config(softmax, {'switches': names}) for names in (
        ['softmax', 'clip_large', 'focal'], ['focal', 'clip_large', 'softmax']))
    assert one.model.backbone == other.model.backbone
    assert (one.model.backbone.attention, one.model.backbone.init_cfg) == ('focal', None)
    assert 'clip' in one.model.backbone.model_name
    with pytest.raises(ConfigError, match="'fsdp' and 'deepspeed' both give a strategy"):
        load_config(path, {'switches': ['fsdp', 'deepspeed']})
    with pytest.raises(ConfigError, match='must be a list of names, got 3'):
        load_config(path, {'switches': 3})
    with pytest.raises(ConfigError, match=r"no 'emma'; take one of \['cascade', 'clip_large'"):
        load_config(path, {'switches': ['emma']})


def test_data_moves_with_a_switch_and_folders_stay_below_their_root(tmp_path, monkeypatch):
    base = ROOT / 'configs/seg/fcn_vit-nano_camvid.py'
    (tmp_path / 'place.py').write_text("data_root = '/B'")
    cfg = load_config(str(base), {'switches': [str(tmp_path / 'place.py')]})
    assert {cfg.train_dataloader.dataset.data_root, cfg.val_dataloader.dataset.data_root} == {'/B'}
    (tmp_path / 'two.py').write_text(f'''_base_ = '{base}'
data_root = '/A'
one = _base_.train_dataloader.dataset
train_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=[
    dict(one, data_root='/A'), dict(one, data_root='/A/extra'), dict(one, data_root='/C')]))
''')
    (tmp_path / 'child.py').write_text("_base_ = './two.py'\ndata_root = '/B'")
    told = []
    monkeypatch.setattr('mmvitlin.engine.runner.data_roots.warn', told.append)
    by_option = load_config(str(tmp_path / 'two.py'), {'data_root': '/B/'})
    assert told == ['--cfg-options data_root moves the data sets at /A; those at /C stay']
    for cfg in (load_config(str(tmp_path / 'child.py')), by_option):
        roots = [one.data_root for one in cfg.train_dataloader.dataset.datasets]
        assert [root.rstrip('/') for root in roots] == ['/B', '/B/extra', '/C']


def test_iterations_reach_every_count(tmp_path):
    base = ROOT / 'configs/seg/fcn_vit-nano_camvid.py'
    (tmp_path / 'a.py').write_text(f'''_base_ = '{base}'
train_cfg = dict(val_begin=300)
custom_hooks = [dict(type='EMAHook', begin_iter=200)]
param_scheduler = [dict(type='OneCycleLR', eta_max=1e-3, total_steps=400, by_epoch=False),
                   dict(type='CosineRestartLR', periods=[100, 300], by_epoch=False)]
''')
    cfg = load_config(str(tmp_path / 'a.py'), {'iterations': 40})
    assert (cfg.train_cfg.val_begin, cfg.custom_hooks[0].begin_iter) == (30, 20)
    assert cfg.param_scheduler[0].total_steps == 40
    assert cfg.param_scheduler[1].periods == [10, 30]


def test_iterations_are_one_option():
    """The whole schedule in proportion, unless an option says more."""
    cfg = load_config('configs/seg/fcn_vit-nano_camvid.py', {'iterations': 2000})
    assert cfg.train_cfg == dict(type='IterBasedTrainLoop', max_iters=2000, val_interval=2000)
    assert [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 200), (200, 2000)]
    assert cfg.default_hooks.checkpoint.interval == 2000
    cfg = load_config(CITYSCAPES, {'iterations': 1000, 'train_cfg.val_interval': 50})
    assert [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 19), (19, 1000)]
    assert (cfg.train_cfg.val_interval, cfg.default_hooks.checkpoint.interval) == (50, 100)
    assert 'iterations' not in cfg
    for few, parts in ((4, [(0, 1), (1, 4)]), (1, [(0, 1), (1, 2)])):  # none is empty
        cfg = load_config('configs/seg/fcn_vit-nano_camvid.py', {'iterations': few})
        assert [(s.begin, s.end) for s in cfg.param_scheduler] == parts
    for wrong in (0, 1.5, 'many', True):
        with pytest.raises(ConfigError, match='iterations=.*: must be a whole number, 1 or more'):
            load_config(CITYSCAPES, {'iterations': wrong})
    with pytest.raises(ConfigError, match='counts epochs'):
        load_config('configs/cls/adventurer-base_in1k-224.py', {'iterations': 100})


def test_a_file_that_is_no_config(tmp_path):
    for text, words in (('model = dict(', "was never closed"),
                        ("_base_ = ['./gone.py']", 'gone.py'),
                        ('a = 1 / 0', 'ZeroDivisionError')):
        (tmp_path / 'a.py').write_text(text)
        with pytest.raises(ConfigError, match=f'a.py is no config: .*{words}'):
            load_config(str(tmp_path / 'a.py'))


def test_no_such_config():
    with pytest.raises(ConfigError, match='no config file at configs/typo.py'):
        load_config('configs/typo.py')


@pytest.mark.parametrize('several', [True, False])
def test_a_whole_schedule_is_shortened(several, tmp_path):
    part = dict(type='MultiStepLR', by_epoch=False, milestones=[600, 900])
    hook = dict(type='CheckpointHook', interval=-1)
    parts = [part, dict(type='CosineAnnealingLR', T_max=1000, begin=0, end=1000)]
    (tmp_path / 'c.py').write_text(
        f'train_cfg = dict(max_iters=1000, val_interval=1000)\n'
        f'param_scheduler = {parts if several else part}\n'
        f'default_hooks = dict(checkpoint={hook if several else None})')
    cfg = load_config(str(tmp_path / 'c.py'), {'iterations': 100})
    assert (cfg.param_scheduler[0] if several else cfg.param_scheduler).milestones == [60, 90]
    if several:
        assert cfg.param_scheduler[1].T_max == 100
        assert cfg.default_hooks.checkpoint.interval == -1


@pytest.mark.parametrize(('line', 'words'), [
    ("optim_wraper = dict(type='OptimWrapper')", r"'optim_wraper' \(do you mean optim_wrapper\?\)"),
    ("switch = ['ema']", r"'switch' \(do you mean switches\?\)"),
    ("optimizer = dict(type='SGD')\nlr_config = dict(policy='poly')", "'optimizer', 'lr_config' "
     r'\(of versions 0.x')])
def test_keys_that_nothing_reads(tmp_path, line, words):
    base = ROOT / 'configs/seg/fcn_vit-nano_camvid.py'
    (tmp_path / 'a.py').write_text(f"_base_ = '{base}'\n{line}\n")
    with pytest.raises(ConfigError, match=f'nothing reads {words}'):
        load_config(str(tmp_path / 'a.py'))


def test_a_pipeline_that_comes_too_late(tmp_path, monkeypatch):
    base = ROOT / 'configs/seg/fcn_vit-nano_streets.py'
    (tmp_path / 'a.py').write_text(
        f"_base_ = '{base}'\ntrain_pipeline = [dict(type='mmvitlin.LoadImage')]\n")
    told = []
    monkeypatch.setattr('mmvitlin.engine.runner.config.warn', told.append)
    load_config(str(tmp_path / 'a.py'))
    assert "'train_pipeline' is a variable of its base" in told[0]


def test_iterations_of_a_config(tmp_path):
    base = ROOT / 'configs/seg/fcn_vit-nano_camvid.py'
    (tmp_path / 'a.py').write_text(f"_base_ = '{base}'\niterations = 40\n")
    assert load_config(str(tmp_path / 'a.py')).train_cfg.max_iters == 40
    assert load_config(str(tmp_path / 'a.py'), {'iterations': 8}).train_cfg.max_iters == 8
    (tmp_path / 'b.py').write_text(
        f"_base_ = '{base}'\niterations = 40\ntrain_cfg = dict(val_interval=iterations)\n")
    assert load_config(str(tmp_path / 'b.py')).train_cfg.max_iters == 400


def test_a_config_that_resumes_is_resumed_as_by_the_option(tmp_path):
    cfg = load_config(str(ROOT / 'configs/seg/fcn_vit-nano_camvid.py'), work_dir=str(tmp_path))
    cfg.resume = True
    apply_options(cfg)
    assert (cfg.resume, cfg.load_from) == (False, None)  # nothing is there
    torch.save(dict(state_dict={}, message_hub={}), tmp_path / 'iter_4.pth')
    cfg.resume = True
    for _ in range(2):
        apply_options(cfg)
        assert (cfg.resume, cfg.load_from) == (True, str(tmp_path / 'iter_4.pth'))


def test_mixed_precision_does_not_take_the_place_of_a_wrapper(monkeypatch):
    cfg = load_config(str(ROOT / 'configs/seg/fcn_vit-nano_camvid.py'),
                      {'optim_wrapper.type': 'MyWrapper'})
    with pytest.raises(ConfigError, match='--amp takes the place of optim_wrapper.type=MyWrapper'):
        apply_options(cfg, amp=True)
    deepspeed = load_config(str(ROOT / 'configs/seg/fcn_vit-nano_camvid.py'),
                            {'switches': 'deepspeed'})
    for _ in range(2):  # as a run's own config is given back
        apply_options(deepspeed, amp=True)
    assert deepspeed.optim_wrapper.type == 'DeepSpeedOptimWrapper'


def test_the_file_of_an_error_is_named(tmp_path):
    (tmp_path / 'base.py').write_text('x = (\n')
    (tmp_path / 'child.py').write_text("_base_ = './base.py'\n")
    (tmp_path / 'itself.py').write_text("_base_ = './itself.py'\n")
    with pytest.raises(ConfigError, match='child.py is no config: .*base.py, line 1: .*never clos'):
        load_config(str(tmp_path / 'child.py'))
    with pytest.raises(ConfigError, match='itself.py inherits from itself'):
        load_config(str(tmp_path / 'itself.py'))


def test_modules_beside_a_config_are_imported(tmp_path, monkeypatch):
    monkeypatch.setattr('sys.path', list(sys.path))
    (tmp_path / 'a_module_of_mine.py').write_text('')
    (tmp_path / 'a.py').write_text(f"""_base_ = '{ROOT}/configs/seg/fcn_vit-nano_camvid.py'
custom_imports = dict(imports=['a_module_of_mine'])
""")
    load_config(str(tmp_path / 'a.py'))
    assert 'a_module_of_mine' in sys.modules
