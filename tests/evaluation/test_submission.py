"""Files for the test servers of Cityscapes and ADE20K."""
import json
import runpy
import shutil
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmseg.datasets import ADE20KDataset, CityscapesDataset
from PIL import Image

from mmvitlin.evaluation.metrics.submission import SERVERS
from mmvitlin.evaluation.submission import prepare_submission
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.engine.nano import nano

# of Cityscapes' label table: road, sidewalk, building, wall, fence, pole, light, sign, vegetation,
# terrain, sky, person, rider, car, truck, bus, train, motorcycle, bicycle
LABEL_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
LIGHT = {'test_dataloader.num_workers': 0, 'test_dataloader.persistent_workers': False}


@pytest.fixture(scope='module')
def test_set(streets, tmp_path_factory):
    """Drawn streets whose test images have the names of Cityscapes', and no labels."""
    root = tmp_path_factory.mktemp('cityscapes')
    folder = root / 'leftImg8bit' / 'test' / 'berlin'
    folder.mkdir(parents=True)
    for n, image in enumerate(sorted((streets / 'leftImg8bit' / 'val').rglob('*.png'))[:2]):
        shutil.copy(image, folder / f'berlin_{n:06}_000019_leftImg8bit.png')
    (root / 'leftImg8bit' / 'val').mkdir()
    return root


def checkpoint_of(cfg, folder):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    net = MODELS.build(cfg.model)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    path = folder / 'iter_1.pth'
    torch.save(dict(state_dict=net.state_dict()), path)
    return str(path)


def run_tool(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['test.py', *map(str, args)])
    runpy.run_path(str(ROOT / 'tools' / 'test.py'), run_name='__main__')


@pytest.mark.parametrize('tta', [False, True])
def test_label_ids_for_cityscapes(test_set, tmp_path, monkeypatch, capfd, tta):
    from mmvitlin.apis import SegInferencer
    cfg = nano(test_set, tmp_path / 'w', **LIGHT)
    if tta:  # two views instead of twelve, with a step that would read labels
        load, resize, *_ = cfg.test_dataloader.dataset.pipeline
        cfg.tta_pipeline = [load, dict(type='TestTimeAug', transforms=[
            [resize], [dict(type='RandomFlip', prob=p) for p in (0., 1.)],
            [dict(type='LoadAnnotations')], [dict(type='PackSegInputs')]])]
    cfg.dump(tmp_path / 'c.py')
    checkpoint = checkpoint_of(cfg, tmp_path)
    run_tool(monkeypatch, tmp_path / 'c.py', checkpoint, '--submit', 'cityscapes', tmp_path / 'out',
             '--work-dir', tmp_path / 'w', *(['--tta'] if tta else []))
    written = sorted(p.name for p in (tmp_path / 'out').iterdir())
    assert written == [f'berlin_{n:06}_000019_pred_labelIds.png' for n in range(2)]
    infer = SegInferencer(str(tmp_path / 'c.py'), checkpoint)
    for n, name in enumerate(written):
        ids = np.asarray(Image.open(tmp_path / 'out' / name))
        assert (ids.dtype, ids.shape) == (np.uint8, (64, 128))
        assert set(np.unique(ids)) <= set(LABEL_IDS)
        if not tta:
            image = test_set / f'leftImg8bit/test/berlin/berlin_{n:06}_000019_leftImg8bit.png'
            assert (ids == np.array(LABEL_IDS)[infer(image)[0].labels]).all()
    assert 'takes all 1525 test images at once, and these are 2' in ''.join(capfd.readouterr())
    result = json.loads((tmp_path / 'w' / 'test_result.json').read_text())
    assert result['metrics'] == {'submission/files': 2}


def test_classes_in_another_order_keep_their_ids(test_set, tmp_path):
    names = CityscapesDataset.METAINFO['classes']
    assert SERVERS['cityscapes'].ids_of(names).tolist() == LABEL_IDS
    assert SERVERS['cityscapes'].ids_of(names[::-1]).tolist() == LABEL_IDS[::-1]
    assert SERVERS['ade20k'].ids_of(ADE20KDataset.METAINFO['classes']).tolist() == [
        *range(1, 151)]


def ade(tmp_path, names=('ADE_test_00000003', 'ADE_test_00000012'), folder='release_test/testing'):
    """A folder as ADE20K's two archives leave it, and a config of a small network for it."""
    root = tmp_path / 'ade' / 'ADEChallengeData2016'
    (root / 'images' / 'validation').mkdir(parents=True)
    (place := tmp_path / 'ade' / folder).mkdir(parents=True)
    rng = np.random.RandomState(0)
    for n, name in enumerate(names):
        Image.fromarray(rng.randint(0, 255, (40 + n, 64, 3)).astype(np.uint8)).save(
            place / f'{name}.jpg')
    cfg = nano(root, tmp_path / 'w', **LIGHT, **{'model.decode_head.num_classes': 150})
    base = Config.fromfile(ROOT / 'configs/_base_/datasets/ade20k_512x512.py')
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[name] = base[name]
        cfg[name].dataset.data_root = str(root)
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.test_dataloader.dataset.pipeline[1].scale = (128, 64)
    return cfg


def test_numbers_from_one_for_ade20k(tmp_path):
    from mmvitlin.engine.runner.launch import evaluate
    cfg = ade(tmp_path)
    folder = tmp_path / 'out'
    checkpoint = checkpoint_of(cfg, tmp_path)
    prepare_submission(cfg, 'ade20k', folder)
    result = evaluate(cfg, checkpoint)
    assert result == {'submission/files': 2}
    sizes = {p.name: np.asarray(Image.open(p)) for p in folder.iterdir()}
    assert {k: (v.shape, v.dtype) for k, v in sizes.items()} == {
        'ADE_test_00000003.png': ((40, 64), np.uint8), 'ADE_test_00000012.png': ((41, 64),
                                                                                 np.uint8)}
    assert all(v.min() >= 1 and v.max() <= 150 for v in sizes.values())


def test_validation_images_under_the_name_of_a_test_set(tmp_path):
    from mmvitlin.engine.runner.launch import evaluate
    cfg = ade(tmp_path, ('ADE_val_00000001', ))
    checkpoint = checkpoint_of(cfg, tmp_path)
    prepare_submission(cfg, 'ade20k', tmp_path / 'out')
    with pytest.raises(ConfigError, match="ADE_val_00000001.jpg is no image of ADE20K's test set, "
                                          'whose names are as ADE_test_00000001.jpg; give'):
        evaluate(cfg, checkpoint)


def test_what_a_server_would_not_take(test_set, streets, tmp_path):
    def refused(words, server='cityscapes', folder=tmp_path / 'out', root=test_set, **changes):
        cfg = nano(root, tmp_path, **LIGHT)
        cfg.test_dataloader.dataset.update(changes)
        with pytest.raises(ConfigError, match=words):
            prepare_submission(cfg, server, folder)

    names = list(CityscapesDataset.METAINFO['classes'])
    refused('no test server is called .kitti.; take one of cityscapes, ade20k', 'kitti')
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'old.png').touch()
    refused('full is there and not empty', folder=tmp_path / 'full')
    refused('has 19 classes, ADE20K has 150; unknown to the server: traffic sign', 'ade20k')
    refused('has 18 classes, Cityscapes has 19; missing here: train',
            metainfo=dict(classes=[n for n in names if n != 'train']))
    refused('19 classes, .* unknown to the server: lorry; missing here: truck',
            metainfo=dict(classes=['lorry' if n == 'truck' else n for n in names]))
    refused("img_path='leftImg8bit/val' holds validation images, and .* has no leftImg8bit/test",
            root=streets)


def test_labels_are_read_nowhere_in_the_pipeline(test_set, tmp_path):
    cfg = nano(test_set, tmp_path)
    cfg.test_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'), dict(type='TestTimeAug', transforms=[
            [dict(type='Resize', scale_factor=1.)], [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')]])]
    prepare_submission(cfg, 'cityscapes', tmp_path / 'out')
    dataset = cfg.test_dataloader.dataset
    assert [[s['type'] for s in view] for view in dataset.pipeline[1]['transforms']] == [
        ['Resize'], ['PackSegInputs']]
    assert dataset.data_prefix == dict(img_path='leftImg8bit/test')
