"""Whole images or windows: the resolution tool says which does better."""
import importlib
import json
import sys

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmvitlin.engine.runner.config import load_config
from mmvitlin.evaluation import resolution
from mmvitlin.evaluation.resolution import resolution_curve
from mmvitlin.evaluation.windows import compare_modes, training_crop, verdict, window_options
from tests.conftest import ROOT
from tests.evaluation.segmentors import CONFIG, weights


def draw(root, whole):
    """Squares of pure colours on 96×128 pixels; labelled one by one, or by what fills most."""
    for kind in ('images', 'labels'):
        (root / kind).mkdir(parents=True)
    for n in range(2):
        classes = np.full((96, 128), n)
        classes[8:72, 64 * n:64 * n + 64] = 2
        labels = np.full_like(classes, n) if whole else classes
        Image.fromarray((255 * np.eye(3)[classes]).astype(np.uint8)).save(
            root / 'images' / f'{n}.png')
        Image.fromarray(labels.astype(np.uint8)).save(root / 'labels' / f'{n}.png')


def network(folder, backbone):
    """Config and checkpoint of a network, and images that suit it."""
    draw(folder / 'data', whole=backbone == 'LooksAtAll')
    path = folder / 'c.py'
    path.write_text(CONFIG.format(backbone=backbone, root=folder / 'data'))
    return str(path), weights(folder / 'iter_1.pth')


@pytest.fixture(autouse=True)
def _memory_is_not_measured(monkeypatch):
    monkeypatch.setattr(resolution, 'in_fresh_process', lambda *args: 1.)


@pytest.mark.parametrize(('backbone', 'better'), [('KnowsItsCrop', 'windows'),
                                                  ('LooksAtAll', 'whole')])
def test_the_tool_says_which_does_better(tmp_path, monkeypatch, capsys, backbone, better):
    config, checkpoint = network(tmp_path, backbone)
    monkeypatch.syspath_prepend(ROOT / 'tools')
    tool = importlib.import_module('resolution_curve')
    monkeypatch.setattr(sys, 'argv', ['tool', config, checkpoint, '--scales', '0.5', '1',
                                      '--out-dir', str(tmp_path / 'out')])
    with pytest.raises(SystemExit) as ended:
        tool.main()
    assert int(ended.value.code) == 0
    results = json.loads((tmp_path / 'out' / 'curve.json').read_text())
    assert [(row['scale'], row['mode']) for row in results['rows']] == [
        (0.5, 'whole'), (1., 'whole'), (1., 'windows')]
    part, = results['modes']
    assert part['better'] == better
    assert part[better] == 100.  # by construction
    assert part['whole' if better == 'windows' else 'windows'] < 60
    messages = ' '.join(capsys.readouterr().out.split())
    assert results['verdict'] in messages
    assert 'Whole images or windows of 64x64? 0.5×: an image is one window; 1×: ' in messages
    assert f"{dict(whole='whole images', windows='windows')[better]} do better (" in messages
    assert (tmp_path / 'out' / 'curve.png').stat().st_size > 10000


def test_windows_of_another_size_than_the_crop(tmp_path):
    config, checkpoint = network(tmp_path, 'KnowsItsCrop')
    rows = resolution_curve(config, checkpoint, [1.], windows=(96, 96), overlap=0.5,
                            progress=lambda text: None)
    assert [row['mode'] for row in rows] == ['whole', 'windows']
    assert rows[1]['crop'] == [96, 96]
    assert compare_modes(rows)[0]['better'] == 'same'  # too large for this network, either way
    plain, = resolution_curve(config, checkpoint, [1.], progress=lambda text: None)
    assert 'mode' not in plain
    assert verdict([plain]) == ''


def test_where_one_of_the_two_cannot_be_run():
    ran = dict(scale=2., miou=40., ms=8., images=5)
    rows = [dict(scale=2., mode='whole', error='too large'),
            dict(ran, mode='windows', crop=[64, 64]),
            dict(scale=3., mode='whole', error='too large'),
            dict(scale=3., mode='windows', crop=[64, 64], error='too large')]
    assert [part['better'] for part in compare_modes(rows)] == ['windows', None]
    assert verdict(rows) == (
        'Whole images or windows of 64x64? 2×: only windows could be run, whole images failed; '
        '3×: neither could be run. Best of all: windows at 2×, mIoU 40.0 (5 images).')
    both = [dict(ran, mode='whole', ms=2.), dict(ran, mode='windows', crop=[64, 64])]
    assert 'both do the same (40.0 whole, 40.0 in windows; windows take 4.0 times as long)' in \
        verdict(both)
    both[0]['load'] = dict(disturbed=True)
    assert '(40.0 whole, 40.0 in windows; times not known: other processes took cores)' in \
        verdict(both)


def test_the_crop_a_network_was_trained_with():
    for config, crop in (('configs/seg/cityscapes_1024.py', (1024, 1024)),
                         ('mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
                          (512, 512))):
        assert training_crop(load_config(config)) == crop
    assert training_crop(Config(dict(model=dict(backbone=dict(img_size=224))))) == (224, 224)
    assert training_crop(Config(dict(model=dict(backbone=dict(depth=50))))) is None
    inner = dict(type='D', pipeline=[dict(type='RandomCrop', crop_size=(512, 1024))])
    for wrapped in (dict(type='RepeatDataset', dataset=inner),
                    dict(type='ConcatDataset', datasets=[inner, inner])):
        assert training_crop(Config(dict(train_dataloader=dict(dataset=dict(
            type='mmvitlin.SeededDataset', dataset=wrapped))))) == (512, 1024)
    assert window_options((512, 768))['model.test_cfg']['stride'] == (341, 512)
