"""Configs to runners: options, preflight, layer decay, mixed precision."""
import argparse
import json

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

from mmvitlin.device import half_dtype, warn_of_imitation
from mmvitlin.engine.config import ConfigOptions, load_config
from mmvitlin.engine.launch import _count_accumulation, _set_amp, augment_tests, train
from mmvitlin.engine.optim import CPUAmpOptimWrapper
from mmvitlin.engine.preflight import check_schedule, preflight
from mmvitlin.errors import CheckpointError, ConfigError
from tests.conftest import ROOT

CITYSCAPES = 'configs/seg/cityscapes_1024.py'


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_one_option_moves_every_data_set():
    cfg = load_config(CITYSCAPES, {'data_root': 'elsewhere'})
    roots = {cfg[f'{s}_dataloader'].dataset.data_root for s in ('train', 'val', 'test')}
    assert roots == {'elsewhere'}
    assert cfg.work_dir == 'work_dirs/cityscapes_1024'
    assert load_config(CITYSCAPES, work_dir='x').work_dir == 'x'


def test_bases_of_other_libraries_resolve(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = ['mmseg::_base_/datasets/cityscapes.py']\n")
    assert load_config(str(path)).dataset_type == 'CityscapesDataset'


@pytest.mark.parametrize(('options', 'words'), [
    ({'data_root': 'no/such'}, r"train_dataloader.dataset.data_root: no folder 'no/such'.*"
     'make_streets'),
    ({'data_root': '.'}, r"data_prefix.img_path: '.' has no folder 'leftImg8bit/train'"),
])
def test_missing_data_is_found_before_anything_is_built(options, words):
    with pytest.raises(ConfigError, match=words):
        preflight(load_config(CITYSCAPES, options))


def test_missing_checkpoints_are_found_before_anything_is_built(streets):
    cfg = load_config(CITYSCAPES, {'data_root': str(streets)})
    with pytest.raises(ConfigError, match=r'model.backbone.init_cfg.checkpoint: no checkpoint at '
                       r".*student.pth'. Train the stage"):
        preflight(cfg)
    cfg.model.backbone.init_cfg = None
    preflight(cfg)
    cfg.load_from = 'gone.pth'
    with pytest.raises(ConfigError, match="load_from: no checkpoint at 'gone.pth'"):
        preflight(cfg)


def test_a_student_goes_on_with_the_images_it_knows(streets, tmp_path, caplog):
    path = tmp_path / 'student.pth'
    cfg = load_config('configs/seg/streets_adventurer-nano_distilled.py', {
        'data_root': str(streets), 'model.backbone.init_cfg.checkpoint': str(path)})
    mean, std = list(cfg.model.data_preprocessor.mean), list(cfg.model.data_preprocessor.std)
    for told, words in ((dict(mean=mean, std=std), None), (dict(mean=mean), None), ({}, None),
                        (dict(mean=[127.5] * 3, std=std), r'preprocessor.mean is .*123.6.*127.5'),
                        (dict(mean=mean, std=[1., 1., 1.]), r'preprocessor.std is .*1.0, 1.0')):
        torch.save(dict(meta=dict(normalisation=told), state_dict={}), path)
        if words is None:
            preflight(cfg)
        else:
            with pytest.raises(ConfigError, match=words):
                preflight(cfg)


@pytest.mark.parametrize(('options', 'words'), [
    ({'model.decode_head.num_classes': 11}, r'num_classes is 11, but train_dataloader.dataset '
     r'\(CityscapesDataset\) has 19 classes'),
    ({'train_dataloader.dataset.pipeline.1.num_classes': 20},
     r'pipeline.1 \(LoadSegLabels\) has num_classes=20'),
])
def test_classes_that_do_not_agree_are_found_first(streets, options, words):
    cfg = load_config('configs/seg/streets_adventurer-nano.py', dict(
        {'data_root': str(streets)}, **options))
    with pytest.raises(ConfigError, match=words):
        preflight(cfg)


@pytest.mark.slow
def test_augmented_tests(streets, tmp_path):
    from mmvitlin.engine.launch import evaluate
    train(nano(streets, tmp_path / 'run', **{'train_cfg.max_iters': 2}))
    scores = [evaluate(nano(streets, tmp_path / f'test{tta}', **{
        'test_dataloader.num_workers': 0, 'test_dataloader.persistent_workers': False,
        'test_dataloader.batch_size': 1}), str(tmp_path / 'run' / 'iter_2.pth'), tta=tta)
        for tta in (False, True)]
    assert all(0 <= s['mIoU'] <= 100 for s in scores)
    assert scores[0] != scores[1]
    cfg = nano(streets, tmp_path)
    augment_tests(cfg, (0.5, 1.))
    dataset = load_config('configs/seg/streets_adventurer-nano.py').test_dataloader.dataset
    wide, high = next(t['scale'] for t in dataset.pipeline if t['type'] == 'Resize')
    views = cfg.test_dataloader.dataset.pipeline[1]['transforms']
    assert [v['scale'] for v in views[0]] == [(wide // 2, high // 2), (wide, high)]
    assert len(views[1]) == 2


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


def test_options_without_a_value(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'a=1', 'data_root'])
    assert '--cfg-options data_root: give it as data_root=VALUE' in capsys.readouterr().err
    assert parser.parse_args(['--cfg-options', 'a=1']).cfg_options == {'a': 1}


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
    again = load_config('configs/det/coco_1024.py', {'switches': 'ema'})  # has it of itself
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
    with pytest.raises(ConfigError, match="'fsdp' and 'deepspeed' both give a strategy"):
        load_config(path, {'switches': ['fsdp', 'deepspeed']})
    with pytest.raises(ConfigError, match='a list of names is wanted, got 3'):
        load_config(path, {'switches': 3})
    with pytest.raises(ConfigError, match=r"no 'emma'; take one of \['deepspeed', 'ema', 'fsdp'"):
        load_config(path, {'switches': ['emma']})


def test_a_file_that_is_no_config(tmp_path):
    for text, words in (('model = dict(', "was never closed"),
                        ("_base_ = ['./gone.py']", 'gone.py'),
                        ('a = 1 / 0', 'ZeroDivisionError')):
        (tmp_path / 'a.py').write_text(text)
        with pytest.raises(ConfigError, match=f'a.py is no config: .*{words}'):
            load_config(str(tmp_path / 'a.py'))


@pytest.mark.parametrize(('options', 'words'), [
    ({'optim_wrapper.optimizer.learning_rate': 1}, "first training .* argument 'learning_rate'"),
    ({'train_dataloader.batchsize': 1}, "first training .* argument 'batchsize'"),
    ({'train_cfg.max_iters': 'two'}, 'first training of this config ended with'),
    ({'val_evaluator.iou_metrics': ['mMoU']}, "first (training|validation) .*mMoU"),
])
def test_what_a_config_cannot_do_is_one_line(streets, tmp_path, options, words):
    with pytest.raises(ConfigError, match=f'{words}.*MMVITLIN_TRACEBACK=1'):
        train(nano(streets, tmp_path, **{'train_cfg.max_iters': 1, **options}))


def test_no_such_config():
    with pytest.raises(ConfigError, match='no config file at configs/typo.py'):
        load_config('configs/typo.py')


def test_layer_decay_decays():
    cfg = load_config('configs/seg/cityscapes_1024.py')
    cfg.model.backbone.update(arch=dict(embed_dims=32, num_layers=4), out_indices=(0, 1, 2, 3),
                              init_cfg=None)
    cfg.model.neck.in_channels = 32
    cfg.model.decode_head.update(in_channels=[32] * 4, channels=16)
    cfg.model.auxiliary_head.update(in_channels=32, channels=16)
    cfg.model['_scope_'] = 'mmseg'
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    groups = wrapper.optimizer.param_groups
    rates = {g['param_name']: (g['lr'], g['weight_decay']) for g in groups}
    assert set(rates) == {n for n, _ in model.named_parameters()}
    base = cfg.optim_wrapper.optimizer.lr
    for name, distance in (('decode_head.conv_seg.weight', 0), ('neck.levels.0.0.weight', 0),
                           ('backbone.layers.3.mixer.in_proj.weight', 1),
                           ('backbone.layers.0.mlp.w1.weight', 4),
                           ('backbone.patch_embed.proj.weight', 5), ('backbone.pos_embed', 5)):
        assert rates[name][0] == pytest.approx(base * 0.9**distance), name
    for name in ('layers.1.mixer.A_log', 'pos_embed', 'cls_token'):
        assert rates[f'backbone.{name}'][1] == 0
    assert rates['backbone.layers.1.mixer.in_proj.weight'][1] == 0.01


def test_a_pyramid_that_counts_from_another_stride_than_its_map_has(streets):
    options = {'data_root': str(streets), 'model.backbone.init_cfg': None}
    told = {'model.neck.in_stride': 8}
    with pytest.raises(ConfigError, match=r'backbone.patch_size is 16, but model.neck.in_stride is '
                                          '8'):
        preflight(load_config('configs/seg/cityscapes_1024.py', {**options, **told}))
    vit = 'configs/seg/cityscapes_1024_vit-large.py'
    with pytest.raises(ConfigError, match=r'model_kwargs.patch_size is 14, but model.neck.in_stri'):
        preflight(load_config(vit, {**options, 'model.backbone.model_kwargs.patch_size': 14}))
    with pytest.raises(ConfigError, match=r'model_name is 14 \(vit_large_patch14.*in_stride is 16'):
        preflight(load_config(vit, {**options, 'model.backbone.model_kwargs.patch_size': None}))
    preflight(load_config(vit, {**options, 'model.backbone.model_kwargs.patch_size': None,
                                'model.neck.in_stride': 14}))


def test_a_rate_that_layer_decay_passes_over_is_refused():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"the lr_mult of \['head'\] has no effect"):
        build_optim_wrapper(model, dict(
            optimizer=dict(type='AdamW', lr=1.), type='OptimWrapper',
            constructor='mmvitlin.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.)))))


def test_layer_decay_of_a_model_without_depth():
    with pytest.raises(TypeError, match='layer decay needs a backbone'):
        build_optim_wrapper(torch.nn.Linear(2, 2), Config(dict(optim_wrapper=dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3),
            constructor='mmvitlin.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.9)))).optim_wrapper)


def nano(streets, tmp_path, **options):
    """The demo's small student on a few tiny scenes."""
    return load_config('configs/seg/streets_adventurer-nano.py', {
        'data_root': str(streets), 'train_cfg.max_iters': 4, 'train_cfg.val_interval': 4,
        'model.backbone.arch': dict(embed_dims=32, num_layers=2),
        'model.backbone.drop_path_rate': 0.,
        'model.backbone.img_size': (64, 128), 'model.data_preprocessor.size': (64, 128),
        'model.decode_head.in_channels': 32, 'model.decode_head.channels': 16,
        'train_dataloader.dataset.pipeline.2.scale': (128, 64),
        'train_dataloader.dataset.pipeline.3.crop_size': (64, 128),
        'val_dataloader.dataset.pipeline.1.scale': (128, 64),
        'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False,
        'val_dataloader.num_workers': 0, 'val_dataloader.persistent_workers': False,
        'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': 2, 'randomness.seed': 1, **options,
    }, str(tmp_path))


@pytest.mark.slow
def test_going_on_from_another_backbone_is_refused(streets, tmp_path):
    """Heads may differ."""
    torch.save(dict(state_dict={'backbone.layers.0.x': torch.ones(2)}), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=r'load_from: .*other.pth is of another backbone: '
                                              r'.* keys are not in the file .*1 keys have no'):
        train(nano(streets, tmp_path / 'a', load_from=str(tmp_path / 'other.pth')))
    own = train(nano(streets, tmp_path / 'b', **{'train_cfg.max_iters': 1})).model.state_dict()
    state = {k: v for k, v in own.items() if not k.startswith('decode_head')}
    state['backbone.pos_embed'] = torch.zeros(1, 17, 32)  # of 4x4 patches
    torch.save(dict(state_dict=state), tmp_path / 'fits.pth')
    model = train(nano(streets, tmp_path / 'c', load_from=str(tmp_path / 'fits.pth'), **{
        'train_cfg.max_iters': 1, 'optim_wrapper.optimizer.lr': 0.})).model
    assert model.backbone.pos_embed.shape[1] == 33
    assert not model.backbone.pos_embed.any()


@pytest.mark.slow
def test_a_resumed_run_ends_like_an_undisturbed_one(streets, tmp_path):
    whole = train(nano(streets, tmp_path / 'whole'))
    short = nano(streets, tmp_path / 'cut', **{'train_cfg.max_iters': 2})
    short.param_scheduler = nano(streets, tmp_path).param_scheduler
    train(short)
    again = train(nano(streets, tmp_path / 'cut'), resume=True)
    assert again.iter == whole.iter == 4
    # the data order is the sampler's, which a resume does not advance: compare what must match
    for runner in (whole, again):
        assert (tmp_path / ('whole' if runner is whole else 'cut') / 'result.json').is_file()
    steps = [r.optim_wrapper.optimizer.state_dict()['state'][0]['step'].item()
             for r in (whole, again)]
    assert steps == [4, 4]
    assert whole.param_schedulers[0].last_step == again.param_schedulers[0].last_step


@pytest.mark.slow
def test_resuming_a_finished_run_validates_and_ignores_load_from(streets, tmp_path):
    train(nano(streets, tmp_path))
    (tmp_path / 'result.json').unlink()
    cfg = nano(streets, tmp_path)
    cfg.load_from = str(tmp_path / 'iter_2.pth')
    runner = train(cfg, resume=True)
    assert runner.iter == 4
    assert 'mIoU' in json.loads((tmp_path / 'result.json').read_text())['metrics']


@pytest.mark.slow
@pytest.mark.parametrize('has_bfloat16', [True, False])
def test_mixed_precision_on_the_cpu(has_bfloat16, streets, tmp_path, monkeypatch):
    """A processor that would imitate bfloat16 trains in float32, and says so."""
    monkeypatch.setattr('mmvitlin.engine.launch.half_dtype',
                        lambda: torch.bfloat16 if has_bfloat16 else None)
    said = []
    monkeypatch.setattr('mmvitlin.engine.launch.print_log', lambda text, **_: said.append(text))
    runner = train(nano(streets, tmp_path), amp=True)
    assert isinstance(runner.optim_wrapper, CPUAmpOptimWrapper) == has_bfloat16
    assert ['has no bfloat16' in text for text in said] == ([] if has_bfloat16 else [True])
    assert json.loads((tmp_path / 'result.json').read_text())['precision'] == (
        'bfloat16' if has_bfloat16 else 'float32')
    assert all(p.dtype == torch.float32 for p in runner.model.parameters())
    assert runner.message_hub.get_scalar('train/loss').current() > 0


@pytest.mark.parametrize(('cpu', 'has'), [('_is_avx512_bf16_supported', True),
                                          ('_is_amx_tile_supported', True), (None, False)])
def test_half_precision_is_what_the_processor_computes_in(cpu, has, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr('platform.machine', lambda: 'x86_64')
    for name in ('_is_avx512_bf16_supported', '_is_amx_tile_supported'):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name == cpu)
    assert half_dtype() == half_dtype('cpu') == (torch.bfloat16 if has else None)
    said = []
    monkeypatch.setattr('mmvitlin.device.print_log', lambda text, **_: said.append(text))
    warn_of_imitation('the teacher', None, 'cpu')
    warn_of_imitation('the teacher', torch.bfloat16, 'cuda')
    warn_of_imitation('the teacher', torch.bfloat16, 'cpu')
    assert said == ([] if has else [
        'the teacher: this processor has no bfloat16 instructions; bfloat16 is imitated and '
        'slower than float32'])


@pytest.mark.slow
def test_an_unknown_config_key_of_ours_is_named(streets, tmp_path):
    cfg = nano(streets, tmp_path)
    cfg.model.backbone.patchsize = 8
    with pytest.raises(ConfigError, match='cannot be built.*patchsize'):
        train(cfg)


@pytest.mark.parametrize(('dtype', 'told'), [
    (torch.bfloat16, dict(dtype='bfloat16', loss_scale=dict(enabled=False))),
    (torch.float16, dict(dtype='float16'))])
def test_only_float16_scales_its_loss(dtype, told, monkeypatch):
    """bfloat16 has float32's range, and a scaler leaves out steps without a word."""
    monkeypatch.setattr('mmvitlin.engine.launch.half_dtype', lambda: dtype)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    _set_amp(cfg)
    assert cfg.optim_wrapper.to_dict() == dict(type='AmpOptimWrapper', **told)


def test_learning_rates_follow_the_images_of_an_update():
    cfg = Config(dict(optim_wrapper=dict(accumulative_counts=8),
                      auto_scale_lr=dict(enable=True, base_batch_size=1024)))
    _count_accumulation(cfg)
    assert cfg.auto_scale_lr.base_batch_size == 128  # 128 images a step are 1,024 an update
    for change in (dict(optim_wrapper=dict()), dict(auto_scale_lr=dict(enable=False))):
        plain = Config(dict(optim_wrapper=dict(accumulative_counts=8),
                            auto_scale_lr=dict(enable=True, base_batch_size=64)) | change)
        before = plain.to_dict()
        _count_accumulation(plain)
        assert plain.to_dict() == before


@pytest.mark.parametrize(('options', 'words'), [
    ({}, None),
    ({'train_cfg.max_iters': 1000}, 'planned for 80000 iterations, the run has 1000 (train_cfg'),
    ({'param_scheduler': []}, None)])
def test_a_schedule_that_does_not_end_with_the_run_is_told(options, words, monkeypatch):
    said = []
    monkeypatch.setattr('mmvitlin.engine.preflight.print_log', lambda text, **_: said.append(text))
    check_schedule(load_config(CITYSCAPES, options))
    assert len(said) == (words is not None)
    assert not words or words in said[0]


def test_schedules_end_with_their_runs(monkeypatch):
    said = []
    monkeypatch.setattr('mmvitlin.engine.preflight.print_log', lambda text, **_: said.append(text))
    for path in sorted((ROOT / 'configs').glob('[dsc]*/*.py')):
        check_schedule(load_config(str(path)))
        assert said == [], path.name
