"""IoU by size of object, and the curve over resolutions."""
import importlib
import json
import shutil
import sys

import numpy as np
import pytest
from mmseg.evaluation import IoUMetric

from mmvitlin.engine.runner.config import load_config
from mmvitlin.evaluation.resolution import (
    curve_figure,
    labelled_images,
    resolution_curve,
)
from mmvitlin.evaluation.size_iou import SizeIoU
from mmvitlin.utils.errors import UnreadableFileError
from mmvitlin.utils.subprocess import MeasurementError
from tests.conftest import ROOT


def scene():
    """128 rows: a large square of class 1, a small one, and a pole one pixel wide."""
    labels = np.zeros((128, 256), np.uint8)
    labels[20:60, 20:60] = 1
    labels[80:85, 30:35] = 1
    labels[10:120, 200] = 1
    return labels


def test_objects_fall_into_their_groups():
    groups = SizeIoU(2).groups(scene() == 1)
    assert (groups[20:60, 20:60] == 0).all()
    assert (groups[80:85, 30:35] == 1).all()
    assert (groups[10:120, 200] == 2).all()
    assert (groups[scene() == 0] == -1).all()


def test_a_diagonal_line_is_thin_and_a_touching_border_is_no_edge():
    mask = np.eye(128, dtype=bool)
    assert (SizeIoU(2).groups(mask)[mask] == 2).all()
    band = np.zeros((128, 128), bool)
    band[:3] = True  # three pixels inside, but it may go on outside
    assert SizeIoU(2).groups(band)[0, 0] != 2


@pytest.mark.parametrize('width', range(1, 12))
def test_thin_objects_of_any_width(width):
    mask = np.zeros((128, 200), bool)
    mask[10:110, 90:90 + width] = True
    for limit in range(1, 12):
        groups = SizeIoU(2, thin=limit / 128).groups(mask)
        assert np.unique(groups[mask]).tolist() == [2 if width <= limit else 0]


def test_misses_and_false_objects_count_for_their_own_size():
    labels, predicted = scene(), scene()
    predicted[10:65, 200] = 0  # half of the pole is missed
    predicted[100:105, 100:105] = 1  # a small object that is not there
    iou = SizeIoU(2)
    iou.add(predicted, labels)
    actual = iou.by_size()[1]
    np.testing.assert_allclose(actual, [100., 50., 50.], atol=0.01)
    union = 1600 + 25 + 110 + 25
    assert iou.classes()[1] == pytest.approx(100 * (1600 + 25 + 55) / union, abs=0.01)
    result = iou.result()
    background = iou.by_size()[0]
    assert result['small'] == 50.  # the background is large
    assert result['large'] == pytest.approx((100 + background[0]) / 2, abs=0.01)


def test_overall_is_mmsegs_miou():
    rng = np.random.RandomState(0)
    labels = rng.randint(0, 4, (3, 40, 50)).astype(np.uint8)
    labels[rng.rand(3, 40, 50) < 0.1] = 255
    predicted = np.where(rng.rand(3, 40, 50) < 0.6, np.minimum(labels, 3), 1).astype(np.uint8)
    iou, metric = SizeIoU(4), IoUMetric()
    metric.dataset_meta = dict(classes=list('abcd'))
    import torch
    for p, t in zip(predicted, labels, strict=True):
        iou.add(p, t)
        metric.process({}, [dict(pred_sem_seg=dict(data=torch.tensor(p)[None].long()),
                                 gt_sem_seg=dict(data=torch.tensor(t)[None].long()))])
    assert iou.overall() == pytest.approx(metric.compute_metrics(metric.results)['mIoU'], abs=0.02)


def test_different_sizes_are_refused():
    with pytest.raises(ValueError, match='differ'):
        SizeIoU(2).add(np.zeros((2, 2)), np.zeros((2, 3)))


def test_the_curve(segmentor, streets, tmp_path):
    options = dict(data_root=str(streets))
    images = list(labelled_images(load_config(segmentor[0], options)))
    assert len(images) == 3
    assert images[0][1].shape == (64, 128)
    rows = resolution_curve(*segmentor, scales=(0.5, 2), options=options, limit=2,
                            progress=lambda text: None)
    assert [r['pixels'] for r in rows] == [32 * 64, 128 * 256]
    assert all(0 <= r['miou'] <= 100 and r['ms'] > 0 and r['images'] == 2 for r in rows)
    assert all(r['peak_mib'] >= 0 for r in rows)
    for row in rows:
        there = [iou for iou in row['classes'].values() if iou is not None]
        assert len(row['classes']) == 19
        assert np.mean(there) == pytest.approx(row['miou'], abs=0.01)
    path = curve_figure(rows, tmp_path / 'curve.png')
    assert path.stat().st_size > 10000
    json.dumps(rows)
    assert (ROOT / 'tools/resolution_curve.py').is_file()


def test_a_label_of_its_own_is_left_out(segmentor, streets):
    cfg = load_config(segmentor[0], dict(data_root=str(streets)))
    plain = [labels for _, labels in labelled_images(cfg)]
    present = np.unique(plain[0])
    first, second = (int(n) for n in present[present < 19][:2])
    cfg.test_dataloader.dataset.ignore_index = first
    for target in (first, second):  # the evaluator's word goes before the data set's
        result = [labels for _, labels in labelled_images(cfg)]
        for labels, before in zip(result, plain, strict=True):
            np.testing.assert_array_equal(labels, np.where(before == target, 255, before))
        assert not np.array_equal(result[0], plain[0])
        cfg.test_evaluator = [dict(type='IoUMetric', ignore_index=second)]



def test_a_failed_measurement_of_memory_leaves_the_rest(
        segmentor, streets, tmp_path, monkeypatch):
    def fail(*args):
        raise MeasurementError('failed: too bad')

    messages = []
    monkeypatch.setattr('mmvitlin.evaluation.resolution.in_fresh_process', fail)
    row, = resolution_curve(*segmentor, [1.], dict(data_root=str(streets)), limit=1,
                            progress=messages.append)
    assert row['peak_mib'] is None
    assert 0 <= row['miou'] <= 100
    assert 'memory was not measured: failed: too bad' in messages[0]
    curve_figure([row], tmp_path / 'curve.png')


def test_an_unreadable_file_stops_the_curve(segmentor, streets, tmp_path):
    shutil.copytree(streets, tmp_path / 'streets')
    file, = list((tmp_path / 'streets/leftImg8bit/val').rglob('*.png'))[:1]
    file.write_bytes(b'no image')
    with pytest.raises(UnreadableFileError, match=file.name):
        resolution_curve(*segmentor, [1.], dict(data_root=str(tmp_path / 'streets')))


@pytest.mark.parametrize('failed', [False, True])
def test_the_tool(tmp_path, monkeypatch, capsys, failed):
    """What it prints, and its exit status."""
    monkeypatch.syspath_prepend(ROOT / 'tools')
    tool = importlib.import_module('resolution_curve')
    row = dict(scale=1., miou=50., large=50., small=None, thin=50., ms=1., pixels=64,
               peak_mib=None, classes=dict(road=60., pole=10., train=None))
    rows = [row, dict(row, scale=1.5, classes=dict(road=62., pole=20.5, train=None))]
    rows += [dict(scale=2., error='too large')] if failed else []
    monkeypatch.setattr(tool, 'resolution_curve', lambda *args, **kwargs: rows)
    monkeypatch.setattr(sys, 'argv', ['tool', 'config.py', 'a.pth', '--out-dir', str(tmp_path),
                                      '--no-windows'])
    with pytest.raises(SystemExit) as ended:
        tool.main()
    assert int(ended.value.code) == failed
    result = [line.replace('│', ' ').split() for line in capsys.readouterr().out.splitlines()]
    assert ['1.00', '0.00', '50.0', '50.0', '–', '50.0', '1', '–'] in result
    assert (['2.00', 'failed'] in result) == failed
    classes = [line for line in result if line and line[0] in row['classes']]
    assert classes == [['pole', '10.0', '20.5'], ['road', '60.0', '62.0'], ['train', '–', '–']]
