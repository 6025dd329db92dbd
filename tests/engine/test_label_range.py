"""Labels that no class is for end a run with the name of their file."""
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from mmvitlin.engine.hooks.label_range import LabelRangeHook, check_sample, ranges
from mmvitlin.engine.runner.launch import train
from mmvitlin.utils.errors import UnreadableFileError
from tests.engine.nano import nano


def pixels(*labels, **meta):
    sample = SegDataSample(metainfo=dict(img_path='i.png', **meta))
    sample.gt_sem_seg = PixelData(data=torch.tensor([[labels]]))
    return sample


@pytest.mark.parametrize(('labels', 'classes', 'ignored', 'wrong'), [
    ((0, 18, 255), 19, 255, None), ((0, 30), 19, 255, 30), ((0, 254), 19, 255, 254),
    ((0, 255), 19, 254, 255), ((0, 19), 19, 0, 19), ((0, -1), 19, 255, -1),
    ((255, 255), 2, 255, None)])
def test_labels_of_pixels(labels, classes, ignored, wrong):
    known = dict(pixels=(classes, ignored))
    if wrong is None:
        return check_sample(pixels(*labels), known)
    with pytest.raises(UnreadableFileError, match=rf'i.png gives the labels \[{wrong}\], but the '
                       rf'head has {classes} classes \(0 to {classes - 1}, and {ignored} is'):
        check_sample(pixels(*labels), known)
    with pytest.raises(UnreadableFileError, match='^l.png gives'):
        check_sample(pixels(*labels, seg_map_path='l.png'), known)


def test_labels_of_boxes_and_of_images():
    boxes = SegDataSample(metainfo=dict(img_path='i.png'))
    boxes.gt_instances = InstanceData(labels=torch.tensor([0, 8]))
    with pytest.raises(UnreadableFileError, match=r'i.png gives the labels \[8\].* 8 classes'):
        check_sample(boxes, dict(objects=(8, 255)))
    image = SegDataSample(metainfo=dict(img_path='i.png'))
    image.set_data(dict(gt_label=torch.tensor([10])))
    with pytest.raises(UnreadableFileError, match=r'i.png gives the labels \[10\]'):
        check_sample(image, dict(images=(10, 255)))
    empty = SegDataSample(metainfo=dict(img_path='i.png'))
    empty.gt_instances = InstanceData(labels=torch.zeros(0, dtype=torch.long))
    check_sample(empty, dict(objects=(8, 255)))


def test_what_heads_count():
    def head(**kwargs):
        module = torch.nn.Module()
        for key, value in kwargs.items():
            setattr(module, key, value)
        return module

    model = head(decode_head=torch.nn.ModuleList([head(num_classes=5, ignore_index=0),
                                                  head(num_classes=4, ignore_index=0)]))
    assert ranges(model) == dict(pixels=(4, 0))
    assert ranges(head(roi_head=head(bbox_head=head(num_classes=80)))) == dict(objects=(80, 255))
    assert ranges(head(head=head(num_classes=10))) == dict(images=(10, 255))
    assert ranges(head(teacher=object(), head=head(num_classes=10))) == {}
    assert ranges(head(backbone=head())) == {}


def test_samples_of_augmented_views_are_looked_at():
    hook = LabelRangeHook()
    hook._ranges = dict(pixels=(2, 255))
    hook.before_test_iter(None, 0, dict(data_samples=[[pixels(0), pixels(1)]]))
    with pytest.raises(UnreadableFileError, match=r'\[7\]'):
        hook.before_test_iter(None, 0, dict(data_samples=[[pixels(0), pixels(7)]]))
    hook.before_train_iter(None, 0, None)


@pytest.mark.parametrize('split', ['val', 'test'])
def test_an_evaluation_of_only_ignored_pixels_has_no_score(split):
    def evaluated(*samples, **metric):
        hook = LabelRangeHook()
        hook._ranges = dict(pixels=(2, 255))
        if split == 'val':
            hook.before_val_epoch(None)
        for sample in samples:
            getattr(hook, f'before_{split}_iter')(None, 0, dict(data_samples=[sample]))
        loop = SimpleNamespace(evaluator=SimpleNamespace(metrics=[SimpleNamespace(**metric)]))
        getattr(hook, f'after_{split}_epoch')(SimpleNamespace(**{f'{split}_loop': loop}))

    with pytest.raises(UnreadableFileError, match='label maps of this evaluation, such as i.png, '
                                                  'show nothing but 255.* no score'):
        evaluated(pixels(255, 255), pixels(255))
    evaluated(pixels(255), pixels(0), pixels(255))
    evaluated(pixels(255), format_only=True)  # as Cityscapes' test set is labelled
    evaluated(SegDataSample(metainfo=dict(img_path='i.png')))


def test_images_of_only_one_class_are_reported(monkeypatch):
    messages = []
    monkeypatch.setattr('mmvitlin.engine.hooks.label_range.print_log',
                        lambda words, **kwargs: messages.append(words))
    for labels in ((3, 3), (3, 4)):
        hook = LabelRangeHook()
        hook._ranges = dict(images=(10, 255))
        for label in labels:
            sample = SegDataSample(metainfo=dict(img_path='i.png'))
            sample.set_data(dict(gt_label=torch.tensor([label])))
            hook.before_train_iter(None, 0, dict(data_samples=[sample]))
        hook.after_train(None)
    assert len(messages) == 1
    assert messages[0].startswith(
        'the labels of the first 2 batches, such as i.png, show only class 3 of')


@pytest.mark.slow
@pytest.mark.parametrize('split', ['train', 'val'])
def test_mmsegs_reader_in_training_and_validation(split, streets, tmp_path):
    """In validation mmseg's metric leaves such labels out silently."""
    root = tmp_path / 'streets'
    shutil.copytree(streets, root)
    for path in (root / f'gtFine/{split}').rglob('*_labelTrainIds.png'):
        labels = np.array(Image.open(path))
        labels[:, ::2] = 30
        Image.fromarray(labels).save(path)
    at = dict(train=1, val=2)[split]
    cfg = nano(root, tmp_path / 'run',
               **{'train_cfg.max_iters': 1, 'train_cfg.val_interval': 1})
    cfg[f'{split}_dataloader'].dataset.pipeline[at] = dict(type='LoadAnnotations')
    with pytest.raises(UnreadableFileError, match=rf'gtFine/{split}/.*_labelTrainIds.png gives the '
                       r'labels \[30\], but the head has 19 classes'):
        train(cfg)
