"""What only all files together show: encodings, empty classes, orientation, duplicates."""
import os
import shutil

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmvitlin.datasets.checks.checking import open_splits
from mmvitlin.datasets.transforms.orientation import fits
from mmvitlin.utils.errors import ConfigError
from tests.datasets.folders import problems_of, seg_config, seg_folder, survey_of
from tests.datasets.test_image_files import with_orientation

TWO = ('background', 'crack')


def maps(*values, count=3, shape=(6, 8)):
    return {f'n{n}': np.resize(values, shape) for n in range(count)}


def test_masks_of_0_and_255_for_two_classes(tmp_path):
    seg_folder(tmp_path, maps(0, 255, 0, 0))
    (level, detail), = problems_of(seg_config(tmp_path, TWO))['class never occurs']
    assert level == 'error'  # one class is left
    assert detail == ('no label is of crack; 25.0% of the pixels are 255, which is ignored: if it '
                      'is a class, set label_map={0: 0, 255: 1} of LoadSegLabels')
    reader = dict(type='mmvitlin.LoadSegLabels', num_classes=2, label_map={255: 1})
    assert not problems_of(seg_config(tmp_path, TWO, reader=reader))


@pytest.mark.parametrize(('others', 'classes', 'level'), [
    ((0, 1), TWO, 'warning'),
    ((0, 1, 255), TWO, 'note'),  # ignored borders, and a file without a crack
    ((0, 1, 2, 255), ('a', 'b', 'c'), 'warning')])
def test_masks_of_0_and_255_among_class_numbers(others, classes, level, tmp_path):
    masks = {f'mask{n}': np.resize((0, 0, 255), (6, 8)) for n in range(4)}
    seg_folder(tmp_path, maps(*others) | masks | {'empty': np.zeros((6, 8))})
    found = problems_of(seg_config(tmp_path, classes))
    (got, detail), = found['mask of 0 and 255']
    assert got == level
    assert detail.startswith('4 label files hold only 0 and 255, and 255 is ignored, while others')
    assert detail.count('.png') == 3
    assert 'mask0.png' in detail
    assert '…' in detail


def test_validation_masks_of_0_and_255_beside_class_numbers_in_training(tmp_path):
    seg_folder(tmp_path, maps(0, 1))
    seg_folder(tmp_path, maps(0, 255, count=1), 'val')
    (level, detail), = problems_of(seg_config(tmp_path, TWO, ('train', 'val')))['mask of 0 and 255']
    assert level == 'warning'
    assert detail.startswith('1 label file holds only 0 and 255')


@pytest.mark.parametrize('reader', [dict(void_labels=[255]), dict(label_map={255: 1})])
def test_255_whose_meaning_is_given(reader, tmp_path):
    seg_folder(tmp_path, maps(0, 1, 255) | {'mask': np.resize((0, 255), (6, 8))})
    reader = dict(type='mmvitlin.LoadSegLabels', num_classes=2, **reader)
    assert 'mask of 0 and 255' not in problems_of(seg_config(tmp_path, TWO, reader=reader))


def test_masks_whose_last_class_is_255(tmp_path):
    seg_folder(tmp_path, maps(0, 1, 255))
    (level, detail), = problems_of(seg_config(tmp_path, ('a', 'b', 'c')))['class never occurs']
    assert level == 'warning'
    assert 'no label is of c; 33.3% of the pixels are 255' in detail
    assert 'label_map={0: 0, 1: 1, 255: 2}' in detail


@pytest.mark.parametrize(('values', 'zero', 'words'), [
    ((1, 2, 3), False, 'no label is of a; the labels may count from 1: then set reduce_zero_label'),
    ((0, 1, 2, 3), True, 'no label is of d; 0 is ignored (reduce_zero_label=True): if the labels'),
    ((0, 1, 3), False, 'no label is of c')])
def test_labels_that_count_from_another_number(values, zero, words, tmp_path):
    seg_folder(tmp_path, maps(*values))
    reader = dict(type='mmvitlin.LoadSegLabels', num_classes=4)
    (level, detail), = problems_of(seg_config(tmp_path, ('a', 'b', 'c', 'd'), reader=reader,
                                              reduce_zero_label=zero))['class never occurs']
    assert level == 'warning'
    assert words in detail


def test_cityscapes_ids_hidden_by_void_labels(tmp_path):
    seg_folder(tmp_path, maps(7, 8, 11, 21, 23, 26))
    names = tuple(f'c{n}' for n in range(19))
    reader = dict(type='mmvitlin.LoadSegLabels', num_classes=19, void_labels=[*range(19, 34)])
    (level, detail), = problems_of(seg_config(tmp_path, names, reader=reader))['other encoding']
    assert level == 'error'
    assert "label_map='cityscapes_ids'" in detail
    reader = dict(type='mmvitlin.LoadSegLabels', num_classes=19, label_map='cityscapes_ids')
    assert 'other encoding' not in problems_of(seg_config(tmp_path, names, reader=reader))


@pytest.mark.parametrize(('step', 'words'), [
    (dict(type='LoadAnnotations'), 'holds the labels [30]'),
    (dict(type='mmseg.LoadAnnotations', imdecode_backend='cv2'), 'holds the labels [30]'),
    (dict(type='mmvitlin.LoadSegLabels', num_classes=2, ignore_index=30),
     'gives the labels [30], but the head has 2 classes (0 to 1) and ignores 255')])
def test_labels_above_the_classes_with_any_reader(step, words, tmp_path):
    seg_folder(tmp_path, maps(0, 1, 30))
    problems = problems_of(seg_config(tmp_path, TWO, reader=step))
    details = [detail for kind in ('unreadable', 'label above the classes')
               for _, detail in problems.get(kind, [])]
    assert len(details) == 3
    assert all(words in detail and '.png' in detail for detail in details)


def test_16_bit_labels_that_mmsegs_reader_would_wrap(tmp_path):
    seg_folder(tmp_path, maps(0, 1, count=1))
    Image.fromarray(np.array([[0, 1, 257]] * 6, np.uint16)).resize((8, 6), 0).save(
        tmp_path / 'labels/train/n0.png')
    (_, detail), = problems_of(seg_config(
        tmp_path, TWO, reader=dict(type='LoadAnnotations')))['unreadable']
    assert 'holds the labels [257]' in detail


def test_files_that_are_nearly_or_wholly_ignored_and_images_of_one_colour(tmp_path):
    labels = maps(0, 1, shape=(10, 10))
    labels['n1'] = np.full((10, 10), 255)
    labels['n2'] = np.full((10, 10), 255)
    labels['n2'][0, :3] = 1
    seg_folder(tmp_path, labels, images=dict(n0=np.full((10, 10, 3), 7, np.uint8)))
    problems = problems_of(seg_config(tmp_path, TWO))
    assert problems['all ignored'][0][0] == 'error'
    (level, detail), = problems['nearly all ignored']
    assert (level, detail.split(' of ')[0]) == ('warning', '97.0%')
    assert problems['blank image'][0][0] == 'warning'
    assert survey_of(seg_config(tmp_path, TWO)).tallies[0].ignored_share == pytest.approx(197 / 300)


def scene(seed, size=(64, 96)):
    """An image and its labels, which lie on its edges."""
    draw = np.random.default_rng(seed)
    labels = np.zeros(size, np.uint8)
    for label in (1, 2, 1):
        top, left = draw.integers(0, size[0] - 25), draw.integers(0, size[1] - 35)
        labels[top:top + 25, left:left + 35] = label
    colours = np.array([(30, 60, 90), (200, 180, 60), (90, 200, 150)])
    noise = draw.integers(0, 20, (*size, 3))
    return (colours[labels] + noise).astype(np.uint8), labels


@pytest.mark.parametrize(('orientation', 'size'), [(3, (64, 96)), (4, (64, 96)), (8, (64, 64))])
def test_which_pixels_labels_were_drawn_on(orientation, size, tmp_path):
    """A turn that sizes do not show is seen by the borders of the labels."""
    pairs = {f'n{n}': scene(n, size) for n in range(4)}
    seg_folder(tmp_path, {k: v[1] for k, v in pairs.items()})
    for name, (image, _) in pairs.items():
        with_orientation(tmp_path / f'images/train/{name}.png', image, orientation)
    classes = ('a', 'b', 'c')
    (level, detail), = problems_of(seg_config(tmp_path, classes))['orientation']
    assert level == 'error'
    assert '4 images have an EXIF orientation' in detail
    assert 'as they are stored in 4 of 4' in detail
    steps = [dict(type='mmvitlin.LoadImage', color_type='color_ignore_orientation'),
             dict(type='mmvitlin.LoadSegLabels', num_classes=3)]
    assert problems_of(seg_config(tmp_path, classes, steps=steps))['orientation'][0][0] == 'note'
    for name, (_, labels) in pairs.items():  # and labels of the image as it is shown
        shown = {3: labels[::-1, ::-1], 4: labels[::-1], 8: np.rot90(labels)}[orientation]
        Image.fromarray(np.ascontiguousarray(shown)).save(tmp_path / f'labels/train/{name}.png')
    (level, detail), = problems_of(seg_config(tmp_path, classes))['orientation']
    assert level == 'note'
    assert 'as viewers show them in 4 of 4' in detail


def test_labels_of_real_frames_fit_them_one_way(camvid):
    for path in sorted((camvid / 'images/train').glob('*.jpg'))[:6]:
        image = np.asarray(Image.open(path))
        labels = np.asarray(Image.open(camvid / f'labels/train/{path.stem}.png'))
        right, turned = fits(image, labels, 3)
        assert right > 1.2 * turned
        assert fits(image[::-1, ::-1], labels, 3)[1] == pytest.approx(right, rel=0.05)


def test_the_same_picture_in_two_splits_and_in_another_file_format(tmp_path):
    seg_folder(tmp_path, maps(0, 1))
    seg_folder(tmp_path, {'v0': np.resize([0, 1], (6, 8)), 'v1': np.resize([0, 1], (6, 8))}, 'val')
    image = Image.open(tmp_path / 'images/train/n0.png')
    image.save(tmp_path / 'images/val/v0.png', compress_level=0)  # other bytes
    shutil.copy(tmp_path / 'images/train/n1.png', tmp_path / 'images/train/copy.png')
    shutil.copy(tmp_path / 'labels/train/n1.png', tmp_path / 'labels/train/copy.png')
    problems = problems_of(seg_config(tmp_path, TWO, ('train', 'val')))
    details = sorted(detail for _, detail in problems['duplicate'])
    assert len(details) == 2
    assert 'n1.png: the same picture as' in details[0]
    assert 'v0.png: the same picture as' in details[1]
    assert 'n0.png (train)' in details[1]


def test_images_of_another_suffix_and_links_that_loop(tmp_path):
    seg_folder(tmp_path, maps(0, 1))
    folder = tmp_path / 'images/train'
    for name in ('x.PNG', 'y.PNG', 'z.jpeg'):
        Image.new('RGB', (8, 6)).save(folder / name)
    problems = problems_of(seg_config(tmp_path, TWO))
    details = sorted(detail for _, detail in problems['other suffix'])
    assert [d.split(' of ')[0] for d in details] == ['1 images', '2 images']
    assert "end in '.PNG' and are left out: img_suffix is '.png'" in details[1]
    os.symlink(tmp_path / 'images', folder / 'again')
    with pytest.raises(ConfigError, match='train_dataloader.dataset: .*again leads back to'):
        open_splits(seg_config(tmp_path, TWO))


def test_several_pages_and_transparency_are_reported(tmp_path):
    seg_folder(tmp_path, maps(0, 1))
    frames = [Image.fromarray(np.random.default_rng(n).integers(0, 255, (6, 8, 4), np.uint8))
              for n in range(2)]
    frames[0].save(tmp_path / 'images/train/n0.png', save_all=True, append_images=frames[1:])
    problems = problems_of(seg_config(tmp_path, TWO))
    assert problems['several frames'][0][0] == 'warning'
    assert problems['transparency'][0][0] == 'note'


def test_class_folders_that_differ_between_splits(tmp_path):
    """A class that validation lacks moves the numbers of all that follow."""
    for split, names in (('train', 'abc'), ('val', 'ac')):
        for n, name in enumerate(names):
            (tmp_path / split / name).mkdir(parents=True)
            picture = np.random.default_rng(n + 9 * (split == 'val')).integers(
                0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(picture).save(tmp_path / split / name / 'x.png')
    loaders = {f'{split}_dataloader': dict(dataset=dict(
        type='CustomDataset', data_root=str(tmp_path), data_prefix=split,
        pipeline=[dict(type='LoadImageFromFile')])) for split in ('train', 'val')}
    cfg = Config(dict(default_scope='mmpretrain', model=dict(head=dict(num_classes=2)), **loaders))
    problems = problems_of(cfg)
    assert '(b)' in problems['other classes'][0][1]
    assert 'is of class 2, but there are 2 classes' in problems['label above the classes'][0][1]


def test_memory_does_not_grow_with_the_samples(tmp_path):
    """Of a sample that is sound 14 bytes stay."""
    seg_folder(tmp_path, maps(0, 1, count=2))
    survey = survey_of(seg_config(tmp_path, TWO))
    kept = [survey._digests, survey._samples, survey._parts]
    assert sum(a.itemsize for a in kept) == 14
    assert [len(a) for a in kept] == [2, 2, 2]
    assert survey.problems == []
    assert len(open_splits(seg_config(tmp_path, TWO))) == 1


@pytest.mark.parametrize('filtering', [Image.Resampling.BILINEAR, Image.Resampling.BOX])
def test_labels_that_were_resized_as_photographs_are(filtering, camvid, tmp_path):
    """Every number is that of a class, and those along borders are wrong."""
    classes = tuple(f'c{n}' for n in range(12))
    for folder, how in (('good', Image.Resampling.NEAREST), ('bad', filtering)):
        labels = {p.stem: np.asarray(Image.open(p).resize((240, 180), how))
                  for p in sorted((camvid / 'labels/train').glob('*.png'))[:3]}
        seg_folder(tmp_path / folder, labels)
    assert 'interpolated labels' not in problems_of(seg_config(tmp_path / 'good', classes))
    (level, detail), = problems_of(seg_config(tmp_path / 'bad', classes))['interpolated labels']
    assert level == 'warning'  # classes may be drawn so: the outline of cells, say
    assert 'by nearest neighbour' in detail


class Boxes:
    """Samples as mmdet's data sets have them: two objects, a crowd alone, none."""
    ann_file, metainfo = '', dict(classes=('cat', 'dog'))

    def __init__(self, folder):
        self.samples = [dict(img_path=str(folder / f'{n}.png'), height=6, width=8,
                             img_id=n, instances=instances) for n, instances in enumerate((
                                 [dict(bbox_label=0, ignore_flag=0)] * 2,
                                 [dict(bbox_label=1, ignore_flag=1)], []))]
        for n in range(3):
            Image.fromarray(np.full((6, 8, 3), n, np.uint8)).save(folder / f'{n}.png')

    def __len__(self):
        return len(self.samples)

    def get_data_info(self, number):
        return self.samples[number]


def test_objects_of_a_data_set_of_boxes(tmp_path):
    from mmengine.dataset import Compose
    from mmengine.registry import init_default_scope

    from mmvitlin.datasets.checks.checking import Part, check
    from mmvitlin.datasets.checks.survey import Survey
    init_default_scope('mmseg')
    survey = Survey([Part('train', 'train_dataloader.dataset', Boxes(tmp_path), Compose(
        [dict(type='mmvitlin.LoadImage')]), 2, 255)])
    for seen in check(survey.parts, 1):
        survey.add(seen)
    problems = {p.kind: (p.level, p.detail) for p in survey.all_problems()}
    assert problems['no objects'] == ('note', '2 images have no objects')
    assert problems['class never occurs'] == ('warning', 'no label is of dog')
    assert survey.class_shares() == []
