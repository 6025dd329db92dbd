"""Files that are missing, and samples followed through their pipelines, before a run begins."""
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from mmvitlin.datasets.checks import masks
from mmvitlin.datasets.checks.checking import open_splits
from mmvitlin.datasets.checks.files import stray_files
from mmvitlin.datasets.transforms.decoding import read_file
from mmvitlin.engine.rules import follow_training, samples
from mmvitlin.engine.runner.launch import train
from mmvitlin.utils.errors import ConfigError
from tests.datasets.folders import seg_config, seg_folder
from tests.detecting import needs_mmdet
from tests.engine.nano import nano


def built(settings):
    init_default_scope('mmseg')
    return DATASETS.build(settings)


@pytest.fixture
def dataset(tmp_path):
    """Settings of a data set of five images and labels."""
    seg_folder(tmp_path, {f'n{n}': np.eye(4) for n in range(5)})
    return dict(seg_config(tmp_path, ('a', 'b')).train_dataloader.dataset)


def test_images_without_labels_and_the_other_way_round(dataset, tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(samples, 'warn', messages.append)
    samples._refuse_absent('train_dataloader', built(dataset))
    labels = tmp_path / 'labels/train'
    for n in (5, 6):
        shutil.copy(labels / 'n0.png', labels / f'n{n}.png')
    samples._refuse_absent('train_dataloader', built(dataset))
    assert len(messages) == 1
    assert messages[0].startswith('train_dataloader.dataset: 2 label files of ')
    assert messages[0].endswith('n6.png')
    for n in (1, 3):
        os.remove(labels / f'n{n}.png')
    for n in range(7, 10):
        shutil.copy(labels / 'n0.png', labels / f'n{n}.png')
    with pytest.raises(ConfigError, match=r'train_dataloader.dataset: 2 of its 5 label images are '
                       r'not there, such as .*n1.png, .*n3.png; and 5 label files of .* have no '
                       r'image, such as .*n5.png.*ann_file'):
        samples._refuse_absent('train_dataloader', built(dataset))
    dataset['pipeline'] = dataset['pipeline'][:1]  # as of a distillation
    samples._refuse_absent('train_dataloader', built(dataset))


@pytest.mark.parametrize('reader', [None, dict(type='LoadAnnotations')])
def test_masks_of_0_and_255_before_a_training(tmp_path, monkeypatch, reader):
    messages = []
    monkeypatch.setattr(samples, 'warn', messages.append)
    seg_folder(tmp_path, {f'n{n}': 255 * np.eye(4) for n in range(5)} | {'empty': np.zeros((4, 4))})
    settings = dict(seg_config(tmp_path, ('sky', 'crack'), reader=reader).train_dataloader.dataset)
    words = (r'dataset: all 6 label files hold only 0 and 255, which is ignored, so sky would be '
             r'the only class: if 255 is a class, set label_map=\{0: 0, 255: 1\} of')
    with pytest.raises(ConfigError, match=f'train_dataloader.{words}'):
        samples._refuse_masks('train_dataloader', built(settings))
    assert not messages
    samples._refuse_masks('val_dataloader', built(settings))
    assert len(messages) == 1
    monkeypatch.setattr(masks, '_LOOKED_AT', 4)  # of more, some
    samples._refuse_masks('train_dataloader', built(settings))
    assert 'the 4 label files that were looked at hold only 0 and 255' in messages[1]


@pytest.mark.parametrize(('labels', 'reader', 'more'), [
    ({'a': 255 * np.eye(4), 'b': np.eye(4)}, {}, {}),
    ({'a': np.zeros((4, 4)), 'b': np.zeros((4, 4))}, {}, {}),
    ({'a': 255 * np.eye(4)}, dict(label_map={255: 1}), {}),
    ({'a': 255 * np.eye(4)}, dict(void_labels=255), {}),
    ({'a': 255 * np.eye(4)}, dict(), dict(reduce_zero_label=True)),
])
def test_label_files_that_are_no_masks_of_0_and_255(tmp_path, monkeypatch, labels, reader, more):
    monkeypatch.setattr(samples, 'warn', pytest.fail)
    seg_folder(tmp_path, labels)
    reader = dict(type='mmvitlin.LoadSegLabels', num_classes=2, **reader)
    cfg = seg_config(tmp_path, ('sky', 'crack'), reader=reader, **more)
    samples._refuse_masks('train_dataloader', built(dict(cfg.train_dataloader.dataset)))


def test_one_label_file_is_read_where_it_holds_class_numbers(dataset, monkeypatch):
    read = []
    monkeypatch.setattr(masks, 'read_file',
                        lambda path, *_: read.append(path) or read_file(path, ''))
    samples._refuse_masks('train_dataloader', built(dataset))
    assert len(read) == 1


def test_masks_of_0_and_255_end_the_start_of_a_run(streets, tmp_path):
    root = tmp_path / 'streets'
    shutil.copytree(streets, root)
    for path in (root / 'gtFine').rglob('*_labelTrainIds.png'):
        Image.fromarray(255 * np.eye(64, 128, dtype=np.uint8)).save(path)
    with pytest.raises(ConfigError, match='hold only 0 and 255, which is ignored, so road would'):
        train(nano(root, tmp_path / 'run'))


def test_labels_beside_their_images_are_no_labels_without_an_image(dataset, tmp_path):
    for n in range(5):
        os.rename(tmp_path / f'images/train/n{n}.png', tmp_path / f'labels/train/n{n}_img.png')
    dataset.update(img_suffix='_img.png', data_prefix=dict(
        img_path='labels/train', seg_map_path='labels/train'))
    assert [kind for kind, *_ in stray_files(built(dataset))] == []


@pytest.mark.parametrize('kind', ['CustomDataset', 'ImageNet'])
def test_images_of_a_list_that_are_not_there(tmp_path, kind):
    seg_folder(tmp_path, {'n0': np.eye(4)})
    (tmp_path / 'list.txt').write_text('n0.png 0\nn1.png 1\n')
    init_default_scope('mmpretrain')
    settings = dict(type=f'mmpretrain.{kind}', data_root=str(tmp_path), data_prefix='images/train',
                    ann_file='list.txt', pipeline=[dict(type='LoadImageFromFile')])
    with pytest.raises(ConfigError, match='1 of its 2 images are not there, such as .*n1.png.*take '
                                          'them out of .*list.txt'):
        samples._refuse_absent('test_dataloader', DATASETS.build(settings))
    settings['pipeline'] = [dict(type='LoadImageFromFile', ignore_empty=True)]
    samples._refuse_absent('test_dataloader', DATASETS.build(settings))


@needs_mmdet
def test_images_of_annotations_that_are_not_there(tmp_path):
    from tests.engine.test_rules_shipped import detector, peculiar
    settings = dict(detector(tmp_path, peculiar(tmp_path), 'CocoDataset').train_dataloader.dataset)
    os.remove(tmp_path / f'{3:012}.jpg')
    os.remove(tmp_path / f'{0:012}.jpg')
    init_default_scope('mmdet')
    with pytest.raises(ConfigError, match=r'of its \d images are not there, such as .*00.jpg'):
        samples._refuse_absent('train_dataloader', DATASETS.build(settings))


def test_training_with_a_label_missing_is_refused_at_the_start(streets, tmp_path):
    shutil.copytree(streets, tmp_path / 'data')
    lost = sorted((tmp_path / 'data').glob('gtFine/val/*/*_labelTrainIds.png'))[0]
    lost.unlink()
    with pytest.raises(ConfigError, match=f'val_dataloader.dataset: 1 of its 3 label.*{lost.name}'):
        train(nano(tmp_path / 'data', tmp_path / 'work'))


@pytest.mark.parametrize(('place', 'kind', 'words'), [
    (1, 'RandomShift', r'dataset.pipeline.1 \(RandomShift\) cannot be built: KeyError: Random'),
    (2, 'Turn', r'dataset.pipeline.2 \(Turn\) leaves an image of 8x4 beside labels of 4x8'),
])
def test_the_steps_of_training_are_followed_before_all_files_are_read(tmp_path, place, kind, words):
    from mmcv.transforms import BaseTransform
    from mmseg.registry import TRANSFORMS

    @TRANSFORMS.register_module(name='Turn', force=True)
    class Turn(BaseTransform):
        """Of a user: turns the image and not its labels."""

        def transform(self, results):
            results['img'] = results['img'].swapaxes(0, 1)
            return results

    seg_folder(tmp_path, {'n0': np.resize([0, 1], (4, 8))})
    cfg = seg_config(tmp_path, ('a', 'b'))
    follow_training(open_splits(cfg))
    cfg.train_dataloader.dataset.pipeline.insert(place, dict(type=kind))
    with pytest.raises(ConfigError, match=words):
        follow_training(open_splits(cfg))


def test_images_that_are_trained_and_validated_on(dataset, tmp_path, monkeypatch):
    """Whatever names them: two lists, or one folder."""
    messages = []
    monkeypatch.setattr(samples, 'warn', messages.append)
    for name, images in (('train', 'n0 n1 n2'), ('val', 'n3 n4'), ('mixed', 'n2 n3')):
        (tmp_path / f'{name}.txt').write_text(images.replace(' ', '\n'))

    def tell(train, val):
        samples._tell_shared({f'{key}_dataloader': SimpleNamespace(dataset=built(dict(
            dataset, ann_file=file))) for key, file in (('train', train), ('val', val))})

    tell('train.txt', 'val.txt')
    assert messages == []
    tell('train.txt', 'mixed.txt')
    assert messages[0].startswith('1 of the 2 images that val_dataloader reads are trained on, '
                                  'such as')
    assert 'n2.png: their scores' in messages[0]
    tell('', '')
    assert messages[1].startswith('5 of the 5 images')
