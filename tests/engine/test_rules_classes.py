"""Names and numbers of classes agree wherever two of them meet."""
import json

import pytest
import torch
from mmengine.config import Config
from mmseg.datasets import CityscapesDataset

from mmvitlin.apis import SegInferencer
from mmvitlin.apis.export import load_trained
from mmvitlin.engine.rules import Context, check, classes, heads
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import evaluate
from mmvitlin.models.utils.checkpoint import read_meta
from mmvitlin.utils.errors import ConfigError
from tests.engine.nano import nano

LAND = ('water', 'land', 'sky')


def config(train=LAND, val=None, model=None, **more) -> Config:
    """A segmentor of three classes and its data sets."""
    loaders = {f'{split}_dataloader': dict(dataset=dict(
        type='BaseSegDataset', metainfo=dict(classes=names), pipeline=[])) for split, names in (
            ('train', train), ('val', val)) if names is not None}
    return Config(dict(default_scope='mmseg', **loaders, **more, model=model or dict(
        type='EncoderDecoder', decode_head=dict(num_classes=3))))


def apply(rule, cfg, purpose='train', **more):
    rule(Context(cfg, purpose, ('train_dataloader', 'val_dataloader'), **more))


@pytest.mark.parametrize(('names', 'words'), [
    ('road', r"train_dataloader.dataset.metainfo.classes is the string 'road'.*\('road', \)"),
    (['a', 'b', 'a'], r"metainfo.classes has 'a' twice"),
    ([], 'has no names'),
    (['a', '', 'b'], "holds '', which is no name"),
    ([0, 1, 2], 'holds 0, which is no name'),
])
def test_a_list_of_classes_that_is_none(names, words):
    with pytest.raises(ConfigError, match=words):
        apply(classes.well_formed, config(names))


def test_classes_of_a_file_and_of_mmpretrain(tmp_path):
    (tmp_path / 'names.txt').write_text('water\nland\nsky\n')
    cfg = config(str(tmp_path / 'names.txt'))
    apply(classes.well_formed, cfg)
    apply(heads.counts, cfg)
    cfg.train_dataloader.dataset = dict(type='mmpretrain.CustomDataset', classes='cat')
    with pytest.raises(ConfigError, match="dataset.classes is the string 'cat'"):
        apply(classes.well_formed, cfg)


def test_a_palette_of_too_few_colours():
    cfg = config()
    cfg.train_dataloader.dataset.metainfo.palette = [[0, 0, 0]]
    with pytest.raises(ConfigError, match='palette has 1 colours for 3 classes'):
        apply(classes.well_formed, cfg)


@pytest.mark.parametrize(('val', 'words'), [
    (('land', 'water', 'sky'), "'water' is class 0 in the first and 1 in the second"),
    (('Water', 'SKY', 'land'), "'land' is class 1 in the first and 2 in the second"),
    (('other', 'water', 'land'), "'water' is class 0 in the first and 1"),
])
def test_another_order_of_classes_in_validation(val, words):
    with pytest.raises(ConfigError, match=f'train_dataloader.dataset and val_datal.*: {words}'):
        apply(classes.same_order, config(val=val))


def test_another_order_in_one_of_the_joined_data_sets_and_in_the_test():
    cfg = config()
    one = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[
        one, dict(type='RepeatDataset', times=2, dataset=dict(
            one, metainfo=dict(classes=LAND[::-1])))])
    with pytest.raises(ConfigError, match=r'datasets.0 and .*datasets.1.dataset list'):
        apply(classes.same_order, cfg)
    cfg = config()
    cfg.test_dataloader = dict(dataset=dict(one, metainfo=dict(classes=LAND[::-1])))
    with pytest.raises(ConfigError, match='train_dataloader.dataset and test_dataloader.dataset'):
        apply(classes.same_order, cfg)


def test_a_test_set_unlike_the_training_set_of_its_config(monkeypatch, tmp_path):
    """It may be another than the network had: where the checkpoint tells, that counts."""
    messages = []
    monkeypatch.setattr(classes, 'warn', messages.append)
    cfg = config()
    cfg.test_dataloader = dict(dataset=dict(cfg.train_dataloader.dataset,
                                            metainfo=dict(classes=LAND[::-1])))
    apply(classes.same_order, cfg, 'test')
    assert 'list their classes differently' in messages.pop()
    path = tmp_path / 'a.pth'
    torch.save(dict(meta=dict(dataset_meta=dict(classes=LAND[::-1])), state_dict={}), path)
    apply(classes.same_order, cfg, 'test', checkpoint=str(path))
    apply(classes.of_checkpoint, cfg, 'test', checkpoint=str(path))
    assert not messages


def test_names_spelled_differently_only_warn(monkeypatch):
    messages = []
    monkeypatch.setattr(classes, 'warn', messages.append)
    apply(classes.same_order, config(val=('Water', 'land', 'sky_')))
    assert not messages
    apply(classes.same_order, config(val=('water', 'ground', 'sky')))
    assert 'class 1 is called otherwise' in messages[0]


def test_folders_of_classes(tmp_path):
    """mmpretrain numbers them in each split by itself."""
    for folder in ('train/a', 'train/b', 'train/c', 'val/b', 'val/c'):
        (tmp_path / folder).mkdir(parents=True)
    cfg = Config(dict(default_scope='mmpretrain', model=dict(head=dict(num_classes=3)), **{
        f'{s}_dataloader': dict(dataset=dict(type='CustomDataset', data_root=str(tmp_path),
                                             data_prefix=s)) for s in ('train', 'val')}))
    with pytest.raises(ConfigError, match="'b' is class 1 in the first and 0 in the second"):
        apply(classes.same_order, cfg)
    (tmp_path / 'val/a').mkdir()
    apply(classes.same_order, cfg)
    apply(heads.counts, cfg)
    cfg.model.head.num_classes = 1000
    with pytest.raises(ConfigError, match=r'head.num_classes is 1000, but train.* has 3 classes'):
        apply(heads.counts, cfg)


@pytest.mark.parametrize(('model', 'words'), [
    (dict(decode_head=dict(num_classes=3), auxiliary_head=[dict(num_classes=3),
                                                           dict(num_classes=4)]),
     r"'model.auxiliary_head.1.num_classes': 4"),
    (dict(decode_head=[dict(num_classes=3), dict(num_classes=2)]),
     r"'model.decode_head.1.num_classes': 2"),
    (dict(roi_head=dict(bbox_head=[dict(num_classes=3), dict(num_classes=3)],
                        mask_head=dict(num_classes=5))), r"roi_head.mask_head.num_classes': 5"),
    (dict(head=dict(num_classes=3), data_preprocessor=dict(num_classes=10)),
     r"'model.data_preprocessor.num_classes': 10"),
    (dict(panoptic_head=dict(num_things_classes=2, num_stuff_classes=1),
          panoptic_fusion_head=dict(num_things_classes=1, num_stuff_classes=2)),
     'counts 2 things and 1 stuff, model.panoptic_fusion_head counts 1 and 2'),
    (dict(panoptic_head=dict(num_things_classes=2, num_stuff_classes=3)),
     'is 5, but train_dataloader.dataset .BaseSegDataset. has 3 classes'),
    (dict(module=dict(decode_head=dict(num_classes=7))), 'decode_head.num_classes is 7, but'),
])
def test_heads_that_count_other_classes(model, words):
    with pytest.raises(ConfigError, match=words):
        apply(heads.counts, config(model=model))


@pytest.mark.parametrize('model', [
    dict(decode_head=dict(num_classes=3), auxiliary_head=dict(type='STDCHead', num_classes=2)),
    dict(panoptic_head=dict(num_things_classes=2, num_stuff_classes=1)),
    dict(roi_head=dict(bbox_head=dict(num_classes=2)), semantic_head=dict(
        num_things_classes=2, num_stuff_classes=1)),
    dict(roi_head=dict(bbox_head=dict(num_classes=3)), rpn_head=dict(num_classes=1)),
    dict(backbone=dict(num_classes=1000), decode_head=dict(num_classes=3)),
])
def test_heads_that_count_right(model):
    apply(heads.counts, config(model=model))


def test_a_sigmoid_head_of_one_channel_has_two_classes():
    model = dict(decode_head=dict(num_classes=2, out_channels=1, threshold=0.3, loss_decode=dict(
        type='CrossEntropyLoss', use_sigmoid=True, class_weight=[1.])))
    cfg = config(('water', 'land'), model=model)
    apply(heads.counts, cfg)
    apply(heads.class_weights, cfg)


@pytest.mark.parametrize(('model', 'words'), [
    (dict(auxiliary_head=[dict(num_classes=3, loss_decode=[dict(type='DiceLoss', class_weight=[
        1, 2, 3]), dict(class_weight=[1] * 4)])]),
     r'model.auxiliary_head.0.loss_decode.1.class_weight has 4 weights, and .* has 3 classes; give '
     '3'),
    (dict(head=dict(num_classes=3, loss=dict(type='CrossEntropyLoss', class_weight=[1, 2]))),
     r'model.head.loss.class_weight has 2'),
    (dict(decode_head=dict(num_classes=3, loss_decode=dict(type='FocalLoss', alpha=[1, 2]))),
     r'loss_decode.alpha has 2'),
    (dict(decode_head=dict(type='mmseg.Mask2FormerHead', num_classes=3, loss_cls=dict(
        class_weight=[1] * 3))), 'give 4'),
    (dict(panoptic_head=dict(num_things_classes=2, num_stuff_classes=1, loss_cls=dict(
        class_weight=[1.] * 5))), 'has 5 weights, and model.panoptic_head has 3 classes; give 4'),
    (dict(roi_head=dict(bbox_head=[dict(num_classes=3, loss_cls=dict(class_weight=[1] * 3))])),
     r'roi_head.bbox_head.0.loss_cls.class_weight has 3 .*give 4'),
])
def test_class_weights_of_another_length(model, words):
    with pytest.raises(ConfigError, match=words):
        apply(heads.class_weights, config(model=model))


@pytest.mark.parametrize(('change', 'words'), [
    ({'val_evaluator.ignore_index': 0}, r'val_evaluator.ignore_index is 0, but model.decode_head.'
                                        r'ignore_index is 255 \(the default\)'),
    ({'model.auxiliary_head': dict(num_classes=3, ignore_index=11)}, 'auxiliary_head.ignore_index'),
    ({'model.decode_head.loss_decode': [dict(type='DiceLoss', ignore_index=0)]},
     r'loss_decode.0.ignore_index is 0'),
    ({'train_dataloader.dataset.pipeline': [dict(type='RandomRotate', prob=1, degree=9,
                                                 seg_pad_val=0)]},
     r'pipeline.0.seg_pad_val is 0'),
    ({'train_dataloader.dataset.pipeline': [dict(type='Pad', size_divisor=2, pad_val=dict(
        img=0, seg=0))]}, r'pad_val.seg is 0'),
    ({'model.data_preprocessor': dict(type='SegDataPreProcessor', seg_pad_val=1)},
     'data_preprocessor.seg_pad_val is 1'),
    ({'model.decode_head.ignore_index': 11, 'train_dataloader.dataset.pipeline': [
        dict(type='mmvitlin.LoadSegLabels', num_classes=3)]},
     r'ignore_index is 11, but train_datal.*ignore_index is 255 \(the default\); set it so'),
])
def test_labels_that_only_some_ignore(change, words):
    cfg = config(val_evaluator=dict(type='IoUMetric'), val=LAND)
    apply(heads.ignored_labels, cfg)
    cfg.merge_from_dict(change)
    with pytest.raises(ConfigError, match=words):
        apply(heads.ignored_labels, cfg)


@pytest.mark.parametrize(('dataset', 'metric'), [
    (dict(type='BaseSegDataset'), dict(type='IoUMetric')),
    (dict(type='BaseSegDataset'), [dict(type='mmseg.IoUMetric')]),
    (dict(type='mmengine.BaseDataset'), dict(type='Evaluator', metrics=dict(type='CocoMetric'))),
])
def test_a_metric_without_names_of_classes(dataset, metric):
    cfg = config(val_evaluator=metric)
    cfg.val_dataloader = dict(dataset=dict(dataset, pipeline=[]))
    with pytest.raises(ConfigError, match=r'val_dataloader.dataset has no names of classes, and '
                                          r"val_evaluator.*metainfo=dict\(classes"):
        apply(classes.named_for_metrics, cfg)
    cfg.val_dataloader.dataset.metainfo = dict(classes=LAND)
    apply(classes.named_for_metrics, cfg)


def with_classes(checkpoint, path, names, key='dataset_meta'):
    content = torch.load(checkpoint, weights_only=True)
    content['meta'] = dict(CLASSES=names) if key == 'CLASSES' else {key: dict(classes=names)}
    torch.save(content, path)
    return str(path)


@pytest.fixture
def exchanged(segmentor, tmp_path):
    """A checkpoint that was trained with two classes in each other's place."""
    names = list(CityscapesDataset.METAINFO['classes'])
    names[2], names[5] = names[5], names[2]
    return with_classes(segmentor[1], tmp_path / 'exchanged.pth', tuple(names))


def test_a_checkpoint_with_classes_in_another_order(segmentor, exchanged, tmp_path, streets):
    words = (r"test_dataloader.dataset and .*exchanged.pth list their classes differently: "
             r"'\w+' is class 2 in the first and 5 in the second; give .*metainfo.classes")
    with pytest.raises(ConfigError, match=words):
        SegInferencer(segmentor[0], exchanged, 'cpu')
    with pytest.raises(ConfigError, match=words):
        load_trained(segmentor[0], exchanged)
    with pytest.raises(ConfigError, match=words):
        evaluate(nano(streets, tmp_path), exchanged)
    cfg = load_config(segmentor[0])
    own = CityscapesDataset.METAINFO['classes']
    for name, key in (('dataset_meta.pth', 'dataset_meta'), ('old.pth', 'CLASSES')):
        path = with_classes(segmentor[1], tmp_path / name, own, key)
        assert classes.classes_in(read_meta(path)) == own
        check(cfg, 'infer', checkpoint=path)


def test_a_run_that_is_resumed_or_started_with_other_classes(exchanged, segmentor, monkeypatch):
    messages = []
    monkeypatch.setattr(classes, 'warn', messages.append)
    cfg = load_config(segmentor[0], {'load_from': exchanged})
    context = Context(cfg, 'train', ('train_dataloader', ))
    classes.of_checkpoint(context)
    assert 'list their classes differently' in messages[0]  # the head is trained anew
    cfg.resume = True
    with pytest.raises(ConfigError, match='train_dataloader.dataset and .*exchanged.pth'):
        classes.of_checkpoint(context)


def test_a_checkpoint_of_more_classes(segmentor, tmp_path):
    path = with_classes(segmentor[1], tmp_path / 'more.pth', ('a', 'b', 'c'))
    with pytest.raises(ConfigError, match='has 19 classes, and .*more.pth was trained with 3'):
        check(load_config(segmentor[0]), 'infer', checkpoint=path)


def coco(tmp_path, names, **more):
    """A config of a COCO file whose categories have gaps between their numbers."""
    file = tmp_path / 'a.json'
    file.write_text(json.dumps(dict(
        info=dict(description='the "categories" : [of] nothing'), images=[], annotations=[],
        categories=[dict(id=3 * n + 1, name=name, keypoints=['nose']) for n, name in
                    enumerate(names)])))
    return Config(dict(default_scope='mmdet', model=dict(bbox_head=dict(num_classes=3)), **more,
                       train_dataloader=dict(dataset=dict(
                           type='CocoDataset', data_root=str(tmp_path), ann_file='a.json',
                           metainfo=dict(classes=LAND)))))


@pytest.mark.parametrize(('names', 'words'), [
    (('water', 'earth', 'sky'), r"a.json has no category 'land' \(1 of 3 classes are absent\)"),
    (('sky', 'land', 'water'), r"another order than the classes: 'water' is class 0 in the first "
                               'and 2 in the second; give .*metainfo.classes as'),
    (('other', 'land', 'water', 'sky'), "'water' is class 0 in the first and 1"),
])
def test_categories_of_a_coco_file(tmp_path, names, words):
    with pytest.raises(ConfigError, match=words):
        apply(classes.of_annotations, coco(tmp_path, names))
    apply(classes.of_annotations, coco(tmp_path, ('water', 'other', 'land', 'sky')))
