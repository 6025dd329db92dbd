"""What is wrong with a run is found before anything is built."""
import pytest
import torch

from mmvitlin.engine.config import load_config
from mmvitlin.engine.preflight import check_schedule, preflight
from mmvitlin.errors import ConfigError
from tests.conftest import ROOT

CITYSCAPES = 'configs/seg/cityscapes_1024.py'


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
