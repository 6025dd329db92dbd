"""Panoptic quality by hand, panoptic labels out of PNGs, and bad files of annotations."""
import copy
import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmvitlin.compat import detection
from mmvitlin.evaluation.metrics.panoptic_quality import PanopticQuality, match_segments, quality
from mmvitlin.utils.errors import ConfigError, UnreadableFileError
from tests.detecting import needs_mmdet

# a row of ten pixels: two things of class 0 and one stuff of class 1
TRUTH = {7: (0, False), 8: (0, False), 9: (1, False)}
LABELLED = np.array([[7, 7, 7, 7, 8, 8, 9, 9, 9, 0]])


def rows(predicted, segments, labelled=LABELLED, truth=TRUTH):
    return match_segments(np.array([predicted]), segments, labelled, truth, 2).tolist()


def test_the_same_segments():
    assert rows([1000, 1000, 1000, 1000, 2000, 2000, 1, 1, 1, 2], {1000: 0, 2000: 0, 1: 1}) == [
        [2., 2., 0., 0.], [1., 1., 0., 0.]]


def test_unlabelled_pixels_do_not_count():
    assert rows([1000, 1000, 1000, 1000, 2000, 2000, 1, 1, 1, 1], {1000: 0, 2000: 0, 1: 1})[1] == [
        1., 1., 0., 0.]


def test_half_a_union_is_no_match():
    # the second thing is missed by half and found one pixel too large: 2 / (2 + 4 - 2) = 0.5
    actual = rows([1000, 1000, 3000, 3000, 3000, 3000, 1, 1, 1, 2], {1000: 0, 3000: 0, 1: 1})
    assert actual[0] == [0., 0., 2., 2.]
    actual = rows([1000, 1000, 1000, 3000, 3000, 3000, 1, 1, 1, 2], {1000: 0, 3000: 0, 1: 1})
    assert actual[0] == [3 / 4 + 2 / 3, 2., 0., 0.]


def test_another_class_is_no_match():
    assert rows([1, 1, 1, 1, 2000, 2000, 1000, 1000, 1000, 2], {1: 1, 2000: 0, 1000: 0}) == [
        [1., 1., 1., 1.], [0., 0., 1., 1.]]


@pytest.mark.parametrize(('crowd', 'surplus'), [(True, 0.), (False, 1.)])
def test_a_segment_in_a_crowd_is_no_surplus(crowd, surplus):
    truth = {7: (0, crowd), 9: (1, False)}
    labelled = np.array([[7, 7, 7, 7, 7, 7, 9, 9, 9, 0]])
    actual = rows([1000, 1000, 2, 2, 2, 2, 1, 1, 1, 2], {1000: 0, 1: 1}, labelled, truth)
    assert actual[0] == [0., 0., surplus, 0. if crowd else 1.]


def test_a_segment_where_nothing_is_labelled_is_no_surplus():
    labelled = np.array([[0, 0, 0, 0, 0, 0, 9, 9, 9, 0]])
    assert rows([1000] * 6 + [1] * 3 + [2], {1000: 0, 1: 1}, labelled, {9: (1, False)}) == [
        [0., 0., 0., 0.], [1., 1., 0., 0.]]


def test_quality_by_hand():
    # class 0: (0.8 + 0.6) / (2 + 0.5 + 0.5); class 1 does not occur; class 2: missed
    counts = np.array([[1.4, 2, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]])
    assert quality(counts) == dict(PQ=round(100 * (1.4 / 3) / 2, 2), SQ=35., RQ=round(
        100 * (2 / 3) / 2, 2))
    assert quality(np.zeros((2, 4))) == dict(PQ=0., SQ=0., RQ=0.)


def test_things_and_stuff_apart():
    metric = PanopticQuality()
    metric.dataset_meta = dict(classes=('car', 'road'), thing_classes=('car', ))
    actual = metric.compute_metrics([np.array([[1., 1, 0, 0], [0., 0, 0, 0]]),
                                     np.array([[0., 0, 0, 0], [0., 0, 1, 1]])])
    assert (actual['PQ'], actual['PQ_things'], actual['PQ_stuff']) == (50., 100., 0.)


def test_panoptic_pngs(tmp_path):
    if detection.lacking():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    from mmvitlin.datasets.transforms.panoptic import LoadPanoptic
    from mmvitlin.datasets.transforms.segments import read_segments
    numbers = np.array([[0, 5, 300], [70_000, 5, 5]])
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, np.stack([numbers // 65536, numbers // 256 % 256, numbers % 256],
                               axis=-1).astype(np.uint8))
    assert (read_segments(path) == numbers).all()
    results = LoadPanoptic().transform(dict(
        ori_shape=(2, 3), seg_map_path=path,
        instances=[dict(bbox=[1, 0, 3, 2], bbox_label=0, ignore_flag=0)],
        segments_info=[dict(id=5, category=0, is_thing=True),
                       dict(id=70_000, category=4, is_thing=False)]))
    assert (results['gt_seg_map'] == [[255, 0, 255], [4, 0, 0]]).all()
    assert (results['gt_masks'].masks == [[[0, 1, 0], [0, 1, 1]]]).all()
    assert results['gt_bboxes'].tensor.tolist() == [[1, 0, 3, 2]]
    with pytest.raises(UnreadableFileError, match=r'a.png are \(2, 3\) pixels, their image'):
        read_segments(path, (4, 3))
    content = bytearray((tmp_path / 'a.png').read_bytes())
    content[-20] ^= 1  # OpenCV would read other segments
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(UnreadableFileError, match='a.png cannot be decoded'):
        read_segments(path)


@needs_mmdet
def test_a_segment_that_the_png_lacks(tmp_path):
    from mmvitlin.datasets.transforms.segments import read_segments
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, np.zeros((2, 3, 3), np.uint8) + np.array([0, 0, 5], np.uint8))
    read_segments(path, (2, 3), [5])
    with pytest.raises(UnreadableFileError, match=r'a.png have no segment \[7, 9\], which'):
        read_segments(path, (2, 3), [9, 5, 7])


def test_quality_follows_images_that_are_not_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.full((2, 3, 3), (5, 0, 0), np.uint8)).save(tmp_path / 'a.png', exif=exif)
    metric = PanopticQuality()
    metric.dataset_meta = dict(classes=('car', 'road'), thing_classes=('car', ))
    for shape, more in (((3, 2), {}), ((2, 3), dict(ignores_orientation=True))):
        metric.process({}, [dict(
            pred_panoptic_seg=dict(sem_seg=torch.full((1, *shape), 1000)), **more,
            seg_map_path=str(tmp_path / 'a.png'),
            segments_info=[dict(id=5, category=0, is_thing=True)])])
    assert metric.evaluate(2)['panoptic/PQ'] == 100.


@needs_mmdet
def test_evaluation_needs_every_listed_segment(tmp_path):
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, np.zeros((2, 3, 3), np.uint8) + np.array([0, 0, 5], np.uint8))
    metric = PanopticQuality()
    metric.dataset_meta = dict(classes=('car', 'road'), thing_classes=('car', ))
    sample = dict(pred_panoptic_seg=dict(sem_seg=torch.full((1, 2, 3), 1000)), seg_map_path=path,
                  segments_info=[dict(id=5, category=0, is_thing=True)])
    metric.process({}, [sample])
    assert metric.evaluate(1)['panoptic/PQ'] == 100.
    sample['segments_info'].append(dict(id=6, category=1, is_thing=False))
    with pytest.raises(UnreadableFileError, match=r'a.png have no segment \[6\]'):
        metric.process({}, [sample])


CLASSES = dict(classes=('car', 'person', 'road'), thing_classes=('car', 'person'),
               stuff_classes=('road', ))
CATEGORIES = [dict(id=3, name='car', isthing=1), dict(id=4, name='person', isthing=1),
              dict(id=9, name='road', isthing=0)]


@pytest.fixture
def panoptic(tmp_path):
    """A function that writes a changed panoptic file of two images and builds its data set."""
    if detection.lacking():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    from mmengine.registry import DATASETS, init_default_scope
    detection.prepare('this test')
    init_default_scope('mmdet')
    numbers = np.zeros((20, 30), np.uint8)
    numbers[2:8, 2:8], numbers[10:] = 5, 7
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    segments = [dict(id=5, category_id=3, bbox=[2, 2, 6, 6], area=36, iscrowd=0),
                dict(id=7, category_id=9, bbox=[0, 10, 30, 10], area=300, iscrowd=0)]
    content = dict(categories=CATEGORIES, images=[], annotations=[])
    for number, name in enumerate('ab'):
        cv2.imwrite(str(tmp_path / f'images/{name}.jpg'), np.zeros((20, 30, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f'labels/{name}.png'),
                    np.stack([0 * numbers, 0 * numbers, numbers], axis=-1))
        content['images'].append(dict(id=number, file_name=f'{name}.jpg', height=20, width=30))
        content['annotations'].append(dict(image_id=number, file_name=f'{name}.png',
                                           segments_info=copy.deepcopy(segments)))

    def build(change, **metainfo):
        changed = copy.deepcopy(content)
        change(changed)
        (tmp_path / 'changed.json').write_text(json.dumps(changed))
        return DATASETS.build(dict(
            type='mmvitlin.CocoPanoptic', data_root=str(tmp_path), ann_file='changed.json',
            data_prefix=dict(img='images', seg='labels'), metainfo=dict(CLASSES, **metainfo),
            pipeline=[dict(type='mmvitlin.LoadImage'), dict(type='mmvitlin.LoadPanoptic')]))

    return build


def test_a_sound_panoptic_file(panoptic):
    data = panoptic(lambda content: None)
    assert len(data) == 2
    sample = data[1]
    assert sample['gt_bboxes_labels'].tolist() == [0]
    assert sample['gt_masks'].masks.sum() == 36
    assert np.unique(sample['gt_seg_map']).tolist() == [0, 2, 255]


def _segment(n, **changed):
    return lambda content: content['annotations'][1]['segments_info'][n].update(changed)


def _no_area(content):
    del content['annotations'][1]['segments_info'][0]['area']


def _another_order(content):
    content['categories'] = content['categories'][::-1]


def _other_things(content):
    content['categories'][2]['isthing'] = 1


def _lost_image(content):
    content['images'][1]['file_name'] = 'gone.jpg'


def _lost_labels(content):
    content['images'].append(dict(id=2, file_name='c.jpg', height=20, width=30))


def _image_twice(content):
    content['annotations'][1]['image_id'] = 0


def _unknown_image(content):
    content['annotations'][1]['image_id'] = 8


@pytest.mark.parametrize(('change', 'words'), [
    (_segment(0, category_id=99), r'1 segments of categories that it does not .* \(ids 5 of 1\)'),
    (_segment(0, id=7), r'1 segments of image 1 whose id others have too \(ids 7\)'),
    (_segment(0, id=0), r'1 segments whose id is no whole number above 0.* \(ids 0 of 1\)'),
    (_segment(1, area=None), r'1 segments whose area is no finite number \(ids 7 of 1\)'),
    (_segment(1, bbox=[1, 2]), r'1 segments whose bbox is not four .* \(ids 7 of 1\)'),
    (_no_area, r"segments of image 1, number 0 \(id 5\) has no \['area'\]"),
    (_another_order, r"in the order \['road', 'person', 'car'\]; give metainfo"),
    (_other_things, r"has the things \['car', 'person', 'road'\], and the data set \['car', 'pe"),
    (_lost_image, r'lists 2 images, 1 of which are not in .*images: gone.jpg \(id 1\)'),
    (_image_twice, r'1 annotated images whose id others have too \(ids 0\)'),
    (_unknown_image, r'1 annotations of images that it does not list \(ids 8\)'),
])
def test_a_bad_panoptic_file_is_refused_by_name_and_id(panoptic, change, words):
    with pytest.raises(ConfigError, match=f'changed.json.*{words}'):
        panoptic(change)


def test_label_files_are_looked_for(panoptic, tmp_path):
    cv2.imwrite(str(tmp_path / 'images/c.jpg'), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(ConfigError, match=r'3 label files, 1 of .*labels: c.png \(id 2\)'):
        panoptic(_lost_labels)


def test_a_listed_segment_without_pixels_is_refused_when_it_is_read(panoptic):
    data = panoptic(_segment(0, id=77))
    data[0]
    with pytest.raises(UnreadableFileError, match=r'labels/b.png have no segment \[77\]'):
        data[1]


def test_the_panoptic_config_checks_its_files():
    from mmvitlin.engine.runner.config import load_config
    from tests.conftest import ROOT
    cfg = load_config(str(ROOT / 'configs/det/mask2former-panoptic_adventurer-base_coco-1024.py'))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.type == 'mmvitlin.CocoPanoptic'
