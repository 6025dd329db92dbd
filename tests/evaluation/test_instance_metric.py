"""COCO's average precision by size, against what can be counted by hand."""
import json

import numpy as np
import pytest
import torch

from mmvitlin.compat import detection

pytestmark = pytest.mark.skipif(bool(detection.lacking()),
                                reason="needs mmdet and mmcv's compiled ops: make setup-full")


def annotation(number, image, category, box):
    x, y, w, h = box
    return dict(id=number, image_id=image, category_id=category, bbox=box, area=w * h, iscrowd=0,
                segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]])


@pytest.fixture
def metric(tmp_path):
    from mmvitlin.registry import METRICS
    content = dict(
        images=[dict(id=0, file_name='a', height=100, width=100),
                dict(id=1, file_name='b', height=400, width=400)],
        categories=[dict(id=1, name='car'), dict(id=2, name='person')],
        annotations=[annotation(1, 0, 1, [10, 10, 20, 20]),  # 1/25 of its image
                     annotation(2, 0, 1, [60, 60, 5, 5]),  # 1/400
                     annotation(3, 1, 1, [10, 10, 20, 20])])  # 1/400 of a larger image
    (tmp_path / 'truth.json').write_text(json.dumps(content))

    def build(**more):
        built = METRICS.build(dict(dict(type='mmvitlin.InstanceMetric', metric=['bbox', 'segm'],
                                        ann_file=str(tmp_path / 'truth.json')), **more))
        built.dataset_meta = dict(classes=('car', 'person'))
        return built
    return build


def see(metric, detections):
    """Let it see boxes (x, y, w, h) with labels and scores, by image."""
    for number, side in ((0, 100), (1, 400)):
        boxes, labels, scores = (zip(*detections[number], strict=True) if detections[number]
                                 else ((), (), ()))
        masks = np.zeros((len(boxes), side, side), bool)
        for mask, (x, y, w, h) in zip(masks, boxes, strict=True):
            mask[y:y + h, x:x + w] = True
        corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes]).reshape(-1, 4)
        metric.process({}, [dict(img_id=number, ori_shape=(side, side), pred_instances=dict(
            bboxes=corners.float(), labels=torch.tensor(labels, dtype=torch.long),
            scores=torch.tensor(scores), masks=torch.from_numpy(masks)))])
    return metric.evaluate(2)


def test_small_objects_count_neither_way(metric):
    values = see(metric(), {0: [([10, 10, 20, 20], 0, 0.9)], 1: []})
    for kind in ('bbox', 'segm'):
        assert values[f'coco/{kind}_AP50_ordinary_car'] == pytest.approx(1.)
        assert values[f'coco/{kind}_AP50_ordinary'] == pytest.approx(1.)  # no person is there
        assert f'coco/{kind}_AP50_ordinary_person' not in values
        # one of three is found: precision 1 up to a recall of 1/3
        assert values[f'coco/{kind}_mAP_50'] == pytest.approx(34 / 101, abs=1e-3)


def test_small_detections_do_not_count_as_wrong_and_large_ones_do(metric):
    hit, small, large = ([10, 10, 20, 20], 0, 0.5), ([80, 5, 4, 4], 0, 0.9), \
        ([50, 50, 30, 30], 0, 0.9)
    assert see(metric(), {0: [hit, small], 1: []})['coco/bbox_AP50_ordinary_car'] == \
        pytest.approx(1.)
    # a wrong one of higher score: precision 1/2
    assert see(metric(), {0: [hit, large], 1: []})['coco/bbox_AP50_ordinary_car'] == \
        pytest.approx(0.5)
    # the same box is small in the larger image, so a find that is not there hurts nobody
    assert see(metric(), {0: [hit], 1: [([50, 50, 20, 20], 0, 0.9)]})[
        'coco/bbox_AP50_ordinary_car'] == pytest.approx(1.)


def test_categories_in_any_order(tmp_path):
    from mmvitlin.registry import METRICS
    content = dict(images=[dict(id=0, file_name='a', height=100, width=100),
                           dict(id=1, file_name='b', height=400, width=400)],
                   categories=[dict(id=3, name='car'), dict(id=1, name='person')],
                   annotations=[annotation(1, 0, 3, [10, 10, 20, 20]),
                                annotation(2, 0, 1, [50, 50, 20, 20])])
    (tmp_path / 'truth.json').write_text(json.dumps(content))
    built = METRICS.build(dict(type='mmvitlin.InstanceMetric', metric=['bbox'],
                               ann_file=str(tmp_path / 'truth.json')))
    built.dataset_meta = dict(classes=('car', 'person'))
    values = see(built, {0: [([10, 10, 20, 20], 0, 0.9)], 1: []})
    assert values['coco/bbox_AP50_ordinary_car'] == pytest.approx(1.)
    assert values['coco/bbox_AP50_ordinary_person'] == 0.


@pytest.mark.parametrize('kind', ['mmvitlin.InstanceMetric', 'mmvitlin.CocoScores'])
def test_annotations_numbered_from_zero_count_like_others(kind, tmp_path):
    """pycocotools takes the id 0 for none; mmdet's converter of Cityscapes starts with it."""
    from mmengine.registry import init_default_scope

    from mmvitlin.registry import METRICS
    init_default_scope('mmdet')
    boxes = [[10, 10, 20, 20], [60, 60, 30, 30]], [[10, 10, 200, 200]]
    content = dict(images=[dict(id=0, file_name='a', height=100, width=100),
                           dict(id=1, file_name='b', height=400, width=400)],
                   categories=[dict(id=1, name='car')],
                   annotations=[annotation(0, 0, 1, boxes[0][0]), annotation(1, 0, 1, boxes[0][1]),
                                annotation(2, 1, 1, boxes[1][0])])
    (tmp_path / 'truth.json').write_text(json.dumps(content))
    built = METRICS.build(dict(type=kind, metric=['bbox', 'segm'],
                               ann_file=str(tmp_path / 'truth.json')))
    built.dataset_meta = dict(classes=('car', ))
    values = see(built, {n: [(box, 0, 0.9) for box in of_image]
                         for n, of_image in enumerate(boxes)})
    for name in ('bbox', 'segm'):
        assert values[f'coco/{name}_mAP'] == 1.
        if kind != 'mmvitlin.CocoScores':
            assert values[f'coco/{name}_AP50_ordinary'] == pytest.approx(1.)
    ids = [a['id'] for a in built._coco_api.dataset['annotations']]
    assert len(set(ids)) == 3
    assert 0 not in ids


def test_half_of_the_union_decides(metric):
    for box, expected in (([10, 10, 20, 11], 1.), ([10, 10, 20, 9], 0.)):
        values = see(metric(), {0: [(box, 0, 0.9)], 1: []})
        assert values['coco/bbox_AP50_ordinary_car'] == pytest.approx(expected)


def test_everything_is_ordinary_from_zero(metric):
    values = see(metric(ordinary=0), {0: [([10, 10, 20, 20], 0, 0.9)], 1: []})
    assert values['coco/bbox_AP50_ordinary'] == pytest.approx(34 / 101, abs=1e-3)
    assert values['coco/bbox_AP50_ordinary'] == pytest.approx(values['coco/bbox_mAP_50'], abs=1e-3)


def test_nothing_found_is_zero(metric):
    assert see(metric(), {0: [], 1: []})['coco/bbox_AP50_ordinary'] == 0.


def test_a_size_of_no_image(metric):
    with pytest.raises(Exception, match='a share of the image, 0 to 1, not 1024'):
        metric(ordinary=1024)


@pytest.mark.parametrize('kind', ['CocoScores', 'InstanceMetric'])
def test_a_network_that_finds_nothing_scores_nothing(metric, kind):
    """mmdet gives no value then, for which ``save_best`` waits."""
    values = see(metric(type=f'mmvitlin.{kind}', prefix='c'), {0: [], 1: []})
    assert {values[f'c/{k}_{item}'] for k in ('bbox', 'segm') for item in ('mAP', 'mAP_50')} == {0.}


def log_messages(monkeypatch):
    from mmvitlin.evaluation.metrics import instance_metric
    messages = []
    monkeypatch.setattr(instance_metric, 'print_log',
                        lambda words, **kwargs: messages.append(words))
    return messages


@pytest.mark.parametrize('kind', ['mmvitlin.CocoScores', 'mmvitlin.InstanceMetric'])
@pytest.mark.parametrize('detections', [[], [([10, 10, 20, 20], 0, 0.9)]])
def test_annotations_without_an_object_have_no_score(tmp_path, kind, detections, monkeypatch):
    from mmvitlin.registry import METRICS
    messages = log_messages(monkeypatch)
    (tmp_path / 'truth.json').write_text(json.dumps(dict(
        images=[dict(id=n, file_name=str(n), height=100, width=100) for n in (0, 1)],
        categories=[dict(id=1, name='car')], annotations=[])))
    metric = METRICS.build(dict(type=kind, ann_file=str(tmp_path / 'truth.json')))
    metric.dataset_meta = dict(classes=('car', ))
    values = see(metric, {0: detections, 1: []})
    assert values['coco/bbox_mAP'] == -1
    assert 'bbox_mAP, bbox_mAP_50' in messages[0]
    assert 'the annotations of the 2 images have no object of the classes' in messages[0]


def test_scores_of_sizes_that_do_not_occur_are_reported(metric, monkeypatch):
    messages = log_messages(monkeypatch)
    values = see(metric(metric='bbox'), {0: [([10, 10, 20, 20], 0, 0.9)], 1: []})
    assert values['coco/bbox_mAP_l'] == -1
    assert messages == ['no score (-1 or NaN) for bbox_mAP_l, bbox_mAP_m: the annotations have '
                        'only objects of other sizes or categories']


def test_no_image_at_all(metric, monkeypatch):
    from mmvitlin.evaluation.metrics import PanopticQuality
    messages = log_messages(monkeypatch)
    assert metric().compute_metrics([])['bbox_mAP'] == -1
    assert 'no image was evaluated' in messages[0]
    quality = PanopticQuality()
    quality.dataset_meta = dict(classes=('car', 'road'), thing_classes=('car', ))
    assert quality.compute_metrics([])['PQ'] == 0
