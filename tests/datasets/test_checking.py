"""Every way a data set can be wrong is found, and a sound one passes."""
import io
import json
import runpy
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mmvitlin.compat import detection
from mmvitlin.datasets.checks.checking import check, open_splits
from mmvitlin.datasets.checks.files import stray_files
from mmvitlin.datasets.checks.survey import ClassShare, Survey
from mmvitlin.engine.runner.config import load_config
from tests.conftest import ROOT
from tests.forked import python

CONFIG = 'configs/seg/fcn_adventurer-nano_streets.py'
DETECTOR = 'configs/det/mask-rcnn_adventurer-nano_streets-512.py'


def call(root, *more, config=CONFIG):
    return python('tools/check_data.py', config, *more,
                           '--cfg-options', f'data_root={root}')


def survey_of(cfg):
    survey = Survey(open_splits(cfg))
    for sample in check(survey.parts):
        survey.add(sample)
    return survey


@pytest.mark.slow
def test_a_sound_data_set(streets):
    done = call(streets)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('none') >= 3  # errors of both, warnings of val
    # before the checkpoint is there that training starts from
    done = call(streets, '--workers', '0', config='configs/seg/cityscapes_1024.py')
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_list_defines_a_split(streets, tmp_path):
    """Labels of the others lie in the same folder."""
    cfg = load_config(str(ROOT / CONFIG), {'data_root': str(streets)})
    dataset = cfg.train_dataloader.dataset
    names = sorted((streets / 'leftImg8bit/train').rglob('*.png'))
    (tmp_path / 'one.txt').write_text(
        str(names[0].relative_to(streets / 'leftImg8bit/train')).removesuffix(
            dataset.get('img_suffix', '_leftImg8bit.png')))
    assert not list(stray_files(open_splits(cfg)[0].dataset))
    dataset.ann_file = str(tmp_path / 'one.txt')
    train = open_splits(cfg)[0].dataset
    assert len(train) == 1
    assert not list(stray_files(train))


def test_the_table_of_classes_says_what_a_weight_is():
    output = io.StringIO()
    shares = SimpleNamespace(class_shares=lambda: [ClassShare('road', 3, 50., 1.)])
    runpy.run_path(str(ROOT / 'tools/check_data.py'))['print_classes'](Console(file=output), shares)
    table, sentence = output.getvalue().rsplit('┘', 1)
    assert 'weight' in table
    assert sentence.strip().startswith('weight: a proposal for decode_head.loss_decode.class_weig')


def test_shares_and_weights_of_classes(streets, tmp_path):
    """Twice as rare where it is shown is the square root of two times the weight."""
    root = tmp_path / 'streets'
    shutil.copytree(streets, root)
    labels = sorted((root / 'gtFine/train').rglob('*_labelTrainIds.png'))
    for n, path in enumerate(labels):  # all road; a pole and a car in every other, one row ignored
        content = np.zeros((64, 128), np.uint8)
        content[0] = 255
        if n % 2:
            content[1:3], content[4:8] = 5, 13
        Image.fromarray(content).save(path)
    cfg = load_config(str(ROOT / CONFIG), {'data_root': str(root)})
    shares = {c.name: c for c in survey_of(cfg).class_shares()}
    assert list(shares)[:2] == ['road', 'sidewalk']
    assert len(shares) == 19
    assert [shares[name].images for name in ('road', 'pole', 'car', 'bus')] == [6, 3, 3, 0]
    assert shares['pole'].share == pytest.approx(100 * 2 / 63 / 2)
    frequencies = dict(road=(63 + 57) / 126, pole=2 / 63, car=4 / 63)  # the median is the car's
    for name, frequency in frequencies.items():
        assert shares[name].weight == pytest.approx((4 / 63 / frequency)**0.5)
    assert shares['bus'].weight is None
    detector = load_config(str(ROOT / CONFIG), {'data_root': str(root)})
    del detector.train_dataloader.dataset.pipeline[:]
    assert survey_of(detector).class_shares() == []


def test_every_kind_of_problem(streets, tmp_path):
    root = tmp_path / 'streets'
    shutil.copytree(streets, root)
    images = sorted((root / 'leftImg8bit/train').rglob('*.png'))
    labels = sorted((root / 'gtFine/train').rglob('*_labelTrainIds.png'))
    assert len(images) == len(labels) == 6
    images[0].write_bytes(images[0].read_bytes()[:500])  # truncated
    labels[1].unlink()  # missing
    bad = np.asarray(Image.open(labels[2])).copy()
    bad[0, 0] = 77
    Image.fromarray(bad).save(labels[2])  # above the classes
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(labels[3])  # another size
    Image.fromarray(np.full_like(bad, 255)).save(labels[4])  # nothing that counts
    val = sorted((root / 'leftImg8bit/val').rglob('*.png'))[0]
    shutil.copy(images[5], val)  # leaks from train to val
    Image.fromarray(bad).save(labels[0].with_name('nobody_gtFine_labelTrainIds.png'))
    done = call(root, '--out', str(tmp_path / 'problems.json'), '--show', '2')
    assert done.returncode == 1, done.stderr
    problems = json.loads((tmp_path / 'problems.json').read_text())
    kinds = sorted(p['kind'] for p in problems if p['level'] == 'error')
    assert kinds == ['all ignored', 'duplicate', 'label without image', 'missing', 'unreadable',
                     'unreadable', 'unreadable']
    details = ' '.join(p['detail'] for p in problems)
    for words in ('truncated', 'holds the labels [77]', 'is 10x10', 'the same picture as'):
        assert words in details
    assert 'more; --out FILE writes all' in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(bool(detection.lacking()),
                    reason='needs mmdet and the compiled ops: make setup-full')
def test_boxes_and_masks(streets, tmp_path):
    done = call(streets, config=DETECTOR)
    assert done.returncode == 0, done.stdout + done.stderr
    root = tmp_path / 'streets'
    shutil.copytree(streets, root)
    path = root / 'annotations/instancesonly_filtered_gtFine_train.json'
    content = json.loads(path.read_text())
    height, width = (content['images'][0][k] for k in ('height', 'width'))
    by_id = {a['id']: a for a in content['annotations']}
    flat, outside, moved, twice = list(by_id)[:4]
    by_id[flat]['bbox'][2] = 0
    by_id[outside]['bbox'][0] = width + 5
    by_id[moved]['bbox'][1] += 10
    content['annotations'].append(dict(by_id[twice], id=999))
    path.write_text(json.dumps(content))
    last = root / 'leftImg8bit/train' / content['images'][-1]['file_name']
    Image.new('RGB', (width, height // 2)).save(last)
    done = call(root, '--out', str(tmp_path / 'problems.json'), config=DETECTOR)
    assert done.returncode == 1, done.stderr
    problems = json.loads((tmp_path / 'problems.json').read_text())
    assert [p['kind'] for p in problems if p['level'] == 'error'] == ['other size']
    boxes = sorted(p['kind'] for p in problems if 'annotation' in p['detail'])
    assert boxes == ['annotated twice', 'box outside', 'box without area', 'mask beside box',
                     'other size']
    details = '\n'.join(p['detail'] for p in problems)
    for words in (f'annotation {flat} is 0x', f'annotation {outside}, ', f'annotation {moved} ends',
                  f'annotations {twice} and 999', f'is {height // 2}x{width} pixels'):
        assert words in details
