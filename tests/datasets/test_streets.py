"""Drawn streets: determinism, consistency of all annotations, difficulty."""
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmvitlin.datasets.streets import render_object, render_scene, write_streets
from mmvitlin.datasets.streets.classes import LABEL_IDS, NAMES, OBJECTS, THINGS, TRAIN_ID
from mmvitlin.datasets.streets.writer import annotations_of, encode_mask


def digest(root):
    files = sorted(p for p in root.rglob('*') if p.is_file())
    return {str(p.relative_to(root)): hashlib.md5(p.read_bytes()).hexdigest() for p in files}


def decode(rle):
    flat = np.repeat(np.arange(len(rle['counts'])) % 2, rle['counts'])
    return flat.reshape(rle['size'], order='F').astype(bool)


def test_same_seed_same_bytes_with_any_number_of_workers(tmp_path):
    for name, workers in (('a', 1), ('b', 2)):
        write_streets(tmp_path / name, dict(train=3), (48, 96), dict(val=1), 32, seed=5,
                      workers=workers)
    write_streets(tmp_path / 'c', dict(train=3), (48, 96), dict(val=1), 32, seed=6)
    first = digest(tmp_path / 'a')
    assert first == digest(tmp_path / 'b')
    assert first.keys() == digest(tmp_path / 'c').keys()
    assert first != digest(tmp_path / 'c')


def test_splits_share_no_scene():
    assert not np.array_equal(render_scene((0, 0, 1), 32, 64).image,
                              render_scene((0, 1, 1), 32, 64).image)


def test_cityscapes_layout_and_ids(streets):
    stem = 'train/streets/streets_000002_000019'
    train_ids = cv2.imread(f'{streets}/gtFine/{stem}_gtFine_labelTrainIds.png', -1)
    label_ids = cv2.imread(f'{streets}/gtFine/{stem}_gtFine_labelIds.png', -1)
    instance_ids = cv2.imread(f'{streets}/gtFine/{stem}_gtFine_instanceIds.png', -1)
    image = cv2.imread(f'{streets}/leftImg8bit/{stem}_leftImg8bit.png')
    assert image.shape == (64, 128, 3)
    assert train_ids.shape == label_ids.shape == instance_ids.shape == (64, 128)
    assert (np.array(LABEL_IDS)[train_ids] == label_ids).all()
    single = instance_ids < 1000
    assert (np.where(single, instance_ids, instance_ids // 1000) == label_ids).all()
    things = np.isin(train_ids, [TRAIN_ID[n] for n in THINGS])
    assert (single == ~things).all()


def test_the_original_label_ids_are_cityscapes():
    # from the public Cityscapes label table
    assert dict(zip(NAMES, LABEL_IDS, strict=True)) == {
        'road': 7, 'sidewalk': 8, 'building': 11, 'wall': 12, 'fence': 13, 'pole': 17,
        'traffic light': 19, 'traffic sign': 20, 'vegetation': 21, 'terrain': 22, 'sky': 23,
        'person': 24, 'rider': 25, 'car': 26, 'truck': 27, 'bus': 28, 'train': 31,
        'motorcycle': 32, 'bicycle': 33}


def test_mmseg_reads_the_folder(streets):
    from mmseg.datasets import CityscapesDataset
    data = CityscapesDataset(data_root=str(streets), pipeline=[],
                             data_prefix=dict(img_path='leftImg8bit/val',
                                              seg_map_path='gtFine/val'))
    assert len(data) == 3
    assert all(Path(data.get_data_info(i)['seg_map_path']).is_file() for i in range(3))
    assert list(data.metainfo['classes']) == list(NAMES)


def test_annotations_are_the_pixels(streets):
    path = streets / 'annotations/instancesonly_filtered_gtFine_train.json'
    coco = json.loads(path.read_text())
    assert [c['name'] for c in coco['categories']] == list(THINGS)
    assert len({a['id'] for a in coco['annotations']}) == len(coco['annotations']) > 10
    for image in coco['images']:
        stem = image['file_name'].removesuffix('_leftImg8bit.png')
        labels = cv2.imread(f'{streets}/gtFine/train/{stem}_gtFine_labelTrainIds.png', -1)
        ids = cv2.imread(f'{streets}/gtFine/train/{stem}_gtFine_instanceIds.png', -1)
        covered = np.zeros(labels.shape, bool)
        for a in (a for a in coco['annotations'] if a['image_id'] == image['id']):
            mask = decode(a['segmentation'])
            x, y, w, h = a['bbox']
            rows, cols = np.nonzero(mask)
            assert (rows.min(), cols.min(), rows.max(), cols.max()) == (y, x, y + h - 1, x + w - 1)
            assert mask.sum() == a['area'] > 0
            assert set(labels[mask]) == {TRAIN_ID[THINGS[a['category_id'] - 1]]}
            assert len(set(ids[mask])) == 1
            assert not (covered & mask).any()
            covered |= mask
        assert (covered == (ids >= 1000)).all()


@pytest.mark.parametrize('mask', [np.zeros((3, 4), bool), np.ones((3, 4), bool),
                                  np.eye(4, dtype=bool)])
def test_run_lengths(mask):
    rle = encode_mask(mask)
    assert sum(rle['counts']) == mask.size
    assert (decode(rle) == mask).all()


def test_every_class_appears_and_none_is_everything():
    share = np.mean([np.bincount(render_scene((0, 0, i), 128, 256).labels.ravel(), minlength=19)
                     for i in range(60)], axis=0) / (128 * 256)
    assert (share > 0).all(), [NAMES[i] for i in np.flatnonzero(share == 0)]
    assert share.max() < 0.5


def test_the_same_street_at_another_resolution():
    small, large = render_scene(7, 128, 256), render_scene(7, 512, 1024)
    coarse = large.labels[2::4, 2::4]
    assert (coarse == small.labels).mean() > 0.95


def test_thin_things_suffer_from_low_resolution():
    """Seen at a quarter of the resolution, poles lose more of their pixels than cars do."""
    kept = {}
    for name in ('pole', 'car'):
        cls, inter, union = TRAIN_ID[name], 0, 0
        for i in range(12):
            large, small = render_scene((1, i), 256, 512), render_scene((1, i), 64, 128)
            up = small.labels.repeat(4, 0).repeat(4, 1)
            inter += ((up == cls) & (large.labels == cls)).sum()
            union += ((up == cls) | (large.labels == cls)).sum()
        kept[name] = inter / union
    assert kept['pole'] < 0.55 < 0.8 < kept['car'], kept


def test_colour_does_not_tell_the_class():
    """A nearest-mean-colour classifier, fitted to the same pixels, is a poor one."""
    scenes = [render_scene((2, i), 64, 128) for i in range(16)]
    pixels = np.concatenate([s.image.reshape(-1, 3) for s in scenes]).astype(float)
    labels = np.concatenate([s.labels.ravel() for s in scenes])
    means = np.stack([pixels[labels == c].mean(0) if (labels == c).any() else np.full(3, 1e9)
                      for c in range(19)])
    guess = ((pixels[:, None] - means) ** 2).sum(-1).argmin(1)
    ious = [((guess == c) & (labels == c)).sum() / max(((guess == c) | (labels == c)).sum(), 1)
            for c in range(19)]
    assert np.mean(ious) < 0.15


@pytest.mark.parametrize('kind', OBJECTS)
def test_objects_vary(kind):
    a, b = render_object(kind, 0, 64), render_object(kind, 1, 64)
    assert a.shape == (64, 64, 3)
    assert a.std() > 5
    assert not np.array_equal(a, b)


def test_object_folder(streets):
    assert {p.name for p in (streets / 'objects' / 'train').iterdir()} == {
        k.replace(' ', '_') for k in OBJECTS}


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match='at least 16x16'):
        render_scene(0, 8, 8)
    with pytest.raises(ValueError, match=r"unknown splits \['tune'\]"):
        write_streets(tmp_path, dict(tune=1))


def test_an_empty_scene_has_no_annotations():
    scene = render_scene(0, 32, 64)
    scene.instances[:] = 0
    assert annotations_of(scene) == []
