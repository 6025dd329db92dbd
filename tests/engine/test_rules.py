"""What is wrong with a run is found before anything is built."""
import pytest
import torch
from mmengine.config import Config

from mmvitlin.engine.rules import Context, check, files, loops
from mmvitlin.engine.runner.config import load_config
from mmvitlin.models.utils import read_state_dict
from mmvitlin.utils.errors import ConfigError

CITYSCAPES = 'configs/seg/cityscapes_1024.py'


@pytest.mark.parametrize(('options', 'words'), [
    ({'data_root': 'no/such'}, r"train_dataloader.dataset.data_root: no folder 'no/such'.*"
     'make_streets'),
    ({'data_root': '.'}, r"data_prefix.img_path: '.' has no folder 'leftImg8bit/train'"),
])
def test_missing_data_is_found_before_anything_is_built(options, words):
    with pytest.raises(ConfigError, match=words):
        check(load_config(CITYSCAPES, options))


def test_missing_checkpoints_are_found_before_anything_is_built(streets):
    cfg = load_config(CITYSCAPES, {'data_root': str(streets)})
    with pytest.raises(ConfigError, match=r'model.backbone.init_cfg.checkpoint: no checkpoint at '
                       r".*student.pth'. Train the stage"):
        check(cfg)
    cfg.model.backbone.init_cfg = None
    check(cfg)
    cfg.load_from = 'gone.pth'
    with pytest.raises(ConfigError, match="load_from: no checkpoint at 'gone.pth'"):
        check(cfg)


@pytest.mark.parametrize(('given', 'words'), [
    ('run', "no checkpoint at '.*run', which is a folder; give /data/run/iter_9.pth"),
    ('run/last_checkpoint', "no .*_checkpoint', which is the name of one; give /data/run/ite"),
    ('.', r"no checkpoint at '.*', which is a folder$"), ('gone.pth', "no checkpoint at '.*gone.")])
def test_something_else_instead_of_a_checkpoint(tmp_path, given, words):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/last_checkpoint').write_text('/data/run/iter_9.pth')
    path = str(tmp_path / given)
    for more, purpose, name in ((dict(load_from=path), 'test', 'CHECKPOINT'),
                                (dict(load_from=path, resume=True), 'train', '--resume'),
                                (dict(load_from=path), 'train', 'load_from')):
        words = words.removesuffix('$') if name == 'load_from' else words
        with pytest.raises(ConfigError, match=f'^{name}: {words}'):
            files.checkpoints(Context(Config(more), purpose, (), path if purpose == 'test' else
                                      None))
    with pytest.raises(FileNotFoundError, match=words):
        read_state_dict(path)
    with pytest.raises(ConfigError, match=r"^load_from: no checkpoint is named \(the path is ''\)"):
        files.checkpoints(Context(Config(dict(load_from='')), 'train', ()))


@pytest.mark.parametrize(('given', 'words'), [
    ('run', 'run, which is a folder, in which a run left .*run/a_config.py'),
    ('.', 'which is a folder$'), ('iter_9.pth', 'given as the config, and is a checkpoint')])
def test_something_else_instead_of_a_config(tmp_path, given, words):
    (tmp_path / 'run').mkdir()
    for name in ('run/a_config.py', 'iter_9.pth'):
        (tmp_path / name).write_text('')
    with pytest.raises(ConfigError, match=words):
        load_config(str(tmp_path / given))


def test_a_student_sees_images_normalised_as_in_its_training(streets, tmp_path, caplog):
    path = tmp_path / 'student.pth'
    cfg = load_config('configs/seg/fcn_adventurer-nano_streets_distilled.py', {
        'data_root': str(streets), 'model.backbone.init_cfg.checkpoint': str(path)})
    mean, std = list(cfg.model.data_preprocessor.mean), list(cfg.model.data_preprocessor.std)
    for meta, words in ((dict(mean=mean, std=std), None), (dict(mean=mean), None), ({}, None),
                        (dict(mean=[127.5] * 3, std=std), r'preprocessor.mean is .*123.6.*127.5'),
                        (dict(mean=mean, std=[1., 1., 1.]), r'preprocessor.std is .*1.0, 1.0')):
        torch.save(dict(meta=dict(normalisation=meta), state_dict={}), path)
        if words is None:
            check(cfg)
        else:
            with pytest.raises(ConfigError, match=words):
                check(cfg)


@pytest.mark.parametrize(('options', 'words'), [
    ({'model.decode_head.num_classes': 11}, r'num_classes is 11, but train_dataloader.dataset '
     r'\(CityscapesDataset\) has 19 classes'),
    ({'train_dataloader.dataset.pipeline.1.num_classes': 20},
     r'pipeline.1 \(LoadSegLabels\) has num_classes=20'),
])
def test_classes_that_do_not_agree_are_found_first(streets, options, words):
    cfg = load_config('configs/seg/fcn_adventurer-nano_streets.py', dict(
        {'data_root': str(streets)}, **options))
    with pytest.raises(ConfigError, match=words):
        check(cfg)


def test_a_pyramid_that_counts_from_another_stride_than_its_map_has(streets):
    options = {'data_root': str(streets), 'model.backbone.init_cfg': None}
    stride = {'model.neck.in_stride': 8}
    with pytest.raises(ConfigError, match=r'backbone.patch_size is 16, but model.neck.in_stride is '
                                          '8'):
        check(load_config('configs/seg/cityscapes_1024.py', {**options, **stride}))
    vit = 'configs/seg/upernet_vit-large_cityscapes-1024.py'
    with pytest.raises(ConfigError, match=r'model_kwargs.patch_size is 14, but model.neck.in_stri'):
        check(load_config(vit, {**options, 'model.backbone.model_kwargs.patch_size': 14}))
    with pytest.raises(ConfigError, match=r'model_name is 14 \(vit_large_patch14.*in_stride is 16'):
        check(load_config(vit, {**options, 'model.backbone.model_kwargs.patch_size': None}))
    check(load_config(vit, {**options, 'model.backbone.model_kwargs.patch_size': None,
                                'model.neck.in_stride': 14}))


@pytest.mark.parametrize(('options', 'words'), [
    ({}, None),
    ({'train_cfg.max_iters': 1000}, 'planned for 80000 iterations, the run has 1000 (train_cfg'),
    ({'param_scheduler': []}, None)])
def test_a_schedule_that_does_not_end_with_the_run_is_reported(options, words, monkeypatch):
    messages = []
    monkeypatch.setattr(loops, 'warn', messages.append)
    loops.schedule(Context(load_config(CITYSCAPES, options), 'train', ()))
    assert len(messages) == (words is not None)
    assert not words or words in messages[0]
