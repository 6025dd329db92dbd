"""Panoptic quality by hand, and panoptic labels out of PNGs."""
import cv2
import numpy as np
import pytest

from mmvitlin import compat
from mmvitlin.engine.metrics.panoptic_quality import PanopticQuality, match_segments, quality
from mmvitlin.errors import UnreadableFileError

# a row of ten pixels: two things of class 0 and one stuff of class 1
TOLD = {7: (0, False), 8: (0, False), 9: (1, False)}
LABELLED = np.array([[7, 7, 7, 7, 8, 8, 9, 9, 9, 0]])


def rows(predicted, found, labelled=LABELLED, told=TOLD):
    return match_segments(np.array([predicted]), found, labelled, told, 2).tolist()


def test_the_same_segments():
    assert rows([1000, 1000, 1000, 1000, 2000, 2000, 1, 1, 1, 2], {1000: 0, 2000: 0, 1: 1}) == [
        [2., 2., 0., 0.], [1., 1., 0., 0.]]


def test_unlabelled_pixels_do_not_count():
    assert rows([1000, 1000, 1000, 1000, 2000, 2000, 1, 1, 1, 1], {1000: 0, 2000: 0, 1: 1})[1] == [
        1., 1., 0., 0.]


def test_half_a_union_is_no_match():
    # the second thing is missed by half and found one pixel too large: 2 / (2 + 4 - 2) = 0.5
    got = rows([1000, 1000, 3000, 3000, 3000, 3000, 1, 1, 1, 2], {1000: 0, 3000: 0, 1: 1})
    assert got[0] == [0., 0., 2., 2.]
    got = rows([1000, 1000, 1000, 3000, 3000, 3000, 1, 1, 1, 2], {1000: 0, 3000: 0, 1: 1})
    assert got[0] == [3 / 4 + 2 / 3, 2., 0., 0.]


def test_another_class_is_no_match():
    assert rows([1, 1, 1, 1, 2000, 2000, 1000, 1000, 1000, 2], {1: 1, 2000: 0, 1000: 0}) == [
        [1., 1., 1., 1.], [0., 0., 1., 1.]]


@pytest.mark.parametrize(('crowd', 'surplus'), [(True, 0.), (False, 1.)])
def test_a_segment_in_a_crowd_is_no_surplus(crowd, surplus):
    told = {7: (0, crowd), 9: (1, False)}
    labelled = np.array([[7, 7, 7, 7, 7, 7, 9, 9, 9, 0]])
    got = rows([1000, 1000, 2, 2, 2, 2, 1, 1, 1, 2], {1000: 0, 1: 1}, labelled, told)
    assert got[0] == [0., 0., surplus, 0. if crowd else 1.]


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
    got = metric.compute_metrics([np.array([[1., 1, 0, 0], [0., 0, 0, 0]]),
                                  np.array([[0., 0, 0, 0], [0., 0, 1, 1]])])
    assert (got['PQ'], got['PQ_things'], got['PQ_stuff']) == (50., 100., 0.)


def test_panoptic_pngs(tmp_path):
    if compat.lacking_for_detection():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    from mmvitlin.datasets.panoptic import LoadPanoptic, read_segments
    numbers = np.array([[0, 5, 300], [70_000, 5, 5]])
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, np.stack([numbers // 65536, numbers // 256 % 256, numbers % 256],
                               axis=-1).astype(np.uint8))
    assert (read_segments(path) == numbers).all()
    found = LoadPanoptic().transform(dict(
        ori_shape=(2, 3), seg_map_path=path,
        instances=[dict(bbox=[1, 0, 3, 2], bbox_label=0, ignore_flag=0)],
        segments_info=[dict(id=5, category=0, is_thing=True),
                       dict(id=70_000, category=4, is_thing=False)]))
    assert (found['gt_seg_map'] == [[255, 0, 255], [4, 0, 0]]).all()
    assert (found['gt_masks'].masks == [[[0, 1, 0], [0, 1, 1]]]).all()
    assert found['gt_bboxes'].tensor.tolist() == [[1, 0, 3, 2]]
    with pytest.raises(UnreadableFileError, match=r'a.png are \(2, 3\) pixels, their image'):
        read_segments(path, (4, 3))
    content = bytearray((tmp_path / 'a.png').read_bytes())
    content[-20] ^= 1  # OpenCV would read other segments
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(UnreadableFileError, match='a.png cannot be decoded'):
        read_segments(path)
