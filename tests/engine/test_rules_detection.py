"""Detectors, their annotation files and their metrics, compared before anything runs."""
import json

import pytest
from mmengine.config import Config

from mmvitlin.compat import detection
from mmvitlin.engine.rules import Context, build_loaders, check, classes, files, heads
from mmvitlin.utils.errors import ConfigError
from tests.engine.test_rules_shipped import FakeRunner, detector, peculiar

NAMES = ('land', 'water', 'sky')


def write(folder, name, names=NAMES, images=('a', 'b', 'c')):
    """A COCO file without annotations."""
    (folder / name).write_text(json.dumps(dict(
        images=[dict(id=n, file_name=f'photos/{i}.jpg', height=8, width=8)
                for n, i in enumerate(images)],
        annotations=[], categories=[dict(id=7 * n, name=c) for n, c in enumerate(names)])))
    return str(folder / name)


def config(folder, metric, kind='CocoDataset', **dataset) -> Config:
    """A validation whose loader reads val.json."""
    return Config(dict(default_scope='mmdet', val_evaluator=metric, val_dataloader=dict(
        dataset=dict(type=kind, data_root=str(folder), ann_file='val.json',
                     metainfo=dict(classes=NAMES), **dataset))))


def apply(rule, cfg):
    rule(Context(cfg, 'train', ('train_dataloader', 'val_dataloader')))


@pytest.mark.parametrize(('names', 'words'), [
    (('sky', 'land', 'water'), r"other.json counts .*: 'land' is class 0 in the first and 1 in"),
    (('land', 'water'), "other.json has no category 'sky', so boxes would get the names of others"),
    (('land', 'road', 'water', 'sky'), None)])
@pytest.mark.parametrize('kind', ['CocoMetric', 'mmvitlin.InstanceMetric'])
def test_a_metric_with_a_file_of_other_categories(tmp_path, names, words, kind):
    write(tmp_path, 'val.json')
    cfg = config(tmp_path, [dict(type=kind, ann_file=write(tmp_path, 'other.json', names))])
    if words is None:
        apply(classes.of_metrics, cfg)
    else:
        with pytest.raises(ConfigError, match=f'val_evaluator.0.ann_file: .*{words}'):
            apply(classes.of_metrics, cfg)


def test_boxes_of_things_beside_panoptic_labels(tmp_path):
    write(tmp_path, 'val.json')
    metric = dict(type='CocoMetric', ann_file=write(tmp_path, 'things.json', NAMES[:2]))
    apply(classes.of_metrics, config(tmp_path, metric, 'mmvitlin.CocoPanoptic'))


@pytest.mark.parametrize(('images', 'words'), [
    (('b', 'a', 'c'), 'image 0 is a here and b there; give both the same file'),
    (('a', 'b'), '1 of its 3 images are not there'),
    (('a', 'b', 'c', 'd'), None), (('a', 'b', 'c'), None)])
def test_a_metric_with_a_file_of_other_images(tmp_path, images, words, monkeypatch):
    messages = []
    monkeypatch.setattr(files, 'warn', messages.append)
    write(tmp_path, 'val.json')
    metric = dict(type='CocoMetric', ann_file=write(tmp_path, 'other.json', images=images))
    if words is not None:
        with pytest.raises(ConfigError, match=words):
            apply(files.annotations_of_metrics, config(tmp_path, metric))
        return
    apply(files.annotations_of_metrics, config(tmp_path, metric))
    assert ['counts as missed' in message for message in messages] == [True] * (len(images) - 3)


def test_annotations_that_mmdets_metric_would_count_as_missed(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(files, 'warn', messages.append)
    path = write(tmp_path, 'val.json')
    for number, kind, warned in ((0, 'CocoMetric', True), (1, 'CocoMetric', False),
                                 (0, 'mmvitlin.CocoScores', False)):
        content = json.loads((tmp_path / 'val.json').read_text())
        content['annotations'] = [dict(id=number, image_id=0, category_id=0)]
        (tmp_path / 'val.json').write_text(json.dumps(content))
        messages.clear()
        apply(files.annotations_of_metrics, config(tmp_path, dict(type=kind, ann_file=path)))
        assert any("numbers its annotations from 0" in words for words in messages) == warned


def test_a_metric_that_counts_all_images_where_some_are_read(tmp_path):
    metric = dict(type='CocoMetric', ann_file=write(tmp_path, 'val.json'))
    with pytest.raises(ConfigError, match=r'dataset.indices takes some .*val_evaluator.ann_file'):
        apply(files.annotations_of_metrics, config(tmp_path, metric, indices=2))
    apply(files.annotations_of_metrics, config(tmp_path, dict(metric, ann_file=None), indices=2))


MASKS = dict(type='MaskRCNN', roi_head=dict(mask_head=dict(num_classes=3)))
SEGM = dict(type='CocoMetric', metric=['bbox', 'segm'])


@pytest.mark.parametrize(('model', 'with_mask', 'words'), [
    (MASKS, False, r'pipeline.1 reads none; set train_dataloader.dataset.pipeline.1.with_mask=Tr'),
    (dict(MASKS, roi_head=dict(mask_head=None)), True, "val_evaluator.metric asks for 'segm', and"),
    (dict(type='FCOS', bbox_head=dict(type='FCOSHead')), False, "a FCOS without a mask head gives"),
    (MASKS, True, None),
    (dict(type='CondInst', bbox_head=dict(type='CondInstBboxHead'), mask_head={}), True, None),
    (dict(type='RTMDet', bbox_head=dict(type='RTMDetInsSepBNHead')), True, None),
    (dict(type='Mask2Former', panoptic_head=dict(type='Mask2FormerHead')), True, None)])
def test_masks_that_are_not_read_or_not_predicted(model, with_mask, words):
    cfg = Config(dict(
        default_scope='mmdet', model=model, val_evaluator=SEGM, val_dataloader=dict(dataset={}),
        train_dataloader=dict(dataset=dict(pipeline=[
            dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_mask=with_mask)]))))
    if words is None:
        apply(heads.masks, cfg)
    else:
        with pytest.raises(ConfigError, match=words):
            apply(heads.masks, cfg)


@pytest.mark.parametrize('what', ['crowds', 'nothing'])
def test_images_without_an_object_to_learn_from(tmp_path, what):
    if detection.lacking():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    detection.prepare('this test')
    file = peculiar(tmp_path)
    content = json.loads(file.read_text())
    for annotation in content['annotations']:
        annotation['iscrowd'] = 1
    if what == 'nothing':
        content['annotations'] = []
    file.write_text(json.dumps(content))
    cfg = detector(tmp_path, file, 'CocoDataset', filter_cfg=None)
    check(cfg)
    with pytest.raises(ConfigError, match=r'train_dataloader.dataset: none of 4 images has an obj'):
        build_loaders(FakeRunner(cfg), ('train_dataloader', ))
    whole = dict(cfg.train_dataloader.dataset, ann_file=peculiar(tmp_path).name)
    cfg.train_dataloader.dataset = dict(  # of a joined data set, one part may be background
        type='ConcatDataset', datasets=[cfg.train_dataloader.dataset, whole])
    build_loaders(FakeRunner(cfg), ('train_dataloader', ))
