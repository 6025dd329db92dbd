"""The inferencer of segmentors: what comes out, and what it is made from."""
import os
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmvitlin.apis import SegInferencer
from mmvitlin.utils.errors import CheckpointError, ConfigError, UnreadableFileError
from tests.apis.pictures import picture
from tests.conftest import ROOT


def test_paths_arrays_and_batches_agree(infer, tmp_path):
    array = picture()
    Image.fromarray(array).save(tmp_path / 'a.png')
    Image.fromarray(picture(80, 50)).save(tmp_path / 'b.png')
    by_path, = infer(str(tmp_path / 'a.png'))
    by_array, = infer(array)
    assert by_path.name == 'a'
    assert by_path.labels.shape == (60, 100)
    assert by_path.labels.dtype == np.uint8
    np.testing.assert_array_equal(by_path.labels, by_array.labels)
    np.testing.assert_array_equal(by_path.image, array)
    folder = infer(tmp_path, batch_size=4)  # of unequal sizes
    assert [r.name for r in folder] == ['a', 'b']
    assert [r.labels.shape for r in folder] == [(60, 100), (80, 50)]
    np.testing.assert_array_equal(folder[0].labels, by_path.labels)
    equal = infer([array, array], batch_size=2)
    assert np.mean(equal[1].labels != by_array.labels) < 1e-3


def test_what_is_written(segmentor, tmp_path):
    result, = SegInferencer(*segmentor, probabilities=True, top_k=2)(picture())
    result.save(tmp_path, ('labels', 'overlay', 'probabilities'))
    labels = np.asarray(Image.open(tmp_path / 'labels' / 'image.png'))
    np.testing.assert_array_equal(labels, result.labels)
    probs = np.load(tmp_path / 'probabilities' / 'image.npy').astype(np.float32)
    assert probs.shape == (19, 60, 100)
    np.testing.assert_allclose(probs.sum(0), 1, atol=5e-3)
    assert (result.top_classes[0] == result.labels).all()
    assert np.asarray(Image.open(tmp_path / 'overlay' / 'image.png')).shape == (60, 100, 3)
    assert len(result.classes) == 19
    with pytest.raises(ConfigError, match="cannot save 'masks'"):
        result.save(tmp_path, ('masks', ))


def test_half_precision_changes_little(infer, segmentor):
    a, = infer(picture(200, 300))
    b, = SegInferencer(*segmentor, precision='bf16')(picture(200, 300))
    assert np.mean(a.labels != b.labels) < 0.1


def test_images_of_one_size_run_together_in_any_order(infer, monkeypatch):
    usual, sizes = infer.outputs, []
    monkeypatch.setattr(infer, 'outputs', lambda data: sizes.append(len(data)) or usual(data))
    results = infer([picture(), picture(80, 50), picture()], batch_size=3)
    assert sorted(sizes) == [1, 2]
    assert [r.labels.shape for r in results] == [(60, 100), (80, 50), (60, 100)]


def test_classes_have_names(infer):
    assert infer.classes[:2] == ('road', 'sidewalk')
    assert tuple(infer.palette[0]) == (128, 64, 128)


def test_the_palette_is_that_of_the_chosen_classes(segmentor):
    from mmseg.datasets import CityscapesDataset
    key = 'test_dataloader.dataset.metainfo'
    classes, colours = (CityscapesDataset.METAINFO[k][::-1] for k in ('classes', 'palette'))
    assert [classes[5], colours[5]] == ['car', [0, 0, 142]]
    own = [(n, n, n) for n in range(19)]
    for metainfo, expected in ((dict(classes=classes), colours),
                               (dict(classes=classes, palette=own), own)):
        net = SegInferencer(*segmentor, cfg_options={key: metainfo})
        assert net.classes == classes
        np.testing.assert_array_equal(net.palette, expected)
    things = tuple(f'thing {n}' for n in range(19))
    unknown = SegInferencer(*segmentor, cfg_options={key: dict(classes=things)})
    assert unknown.palette.shape == (19, 3)


def changed(segmentor, path, change):
    cfg = Config.fromfile(segmentor[0])
    change(cfg)
    cfg.dump(path)
    return str(path), segmentor[1]


def test_a_test_set_that_does_not_say_how_images_are_read(segmentor, tmp_path):
    def repeated(cfg):
        cfg.test_dataloader.dataset = dict(type='RepeatDataset', times=2,
                                           dataset=cfg.test_dataloader.dataset)

    for change, words in ((repeated, 'not a RepeatDataset'),
                          (lambda cfg: cfg.pop('test_dataloader'), 'not nothing')):
        made = changed(segmentor, tmp_path / 'other.py', change)
        with pytest.raises(ConfigError, match=f'other.py: test_dataloader.dataset must.*{words}'):
            SegInferencer(*made)


def test_the_error_of_a_file_is_not_left_out(segmentor, tmp_path):
    def skip(cfg):
        cfg.test_dataloader.dataset.pipeline[0].update(skip_unreadable=5, ignore_empty=True)

    (tmp_path / 'bad.png').write_bytes(b'no image')
    result, = SegInferencer(*changed(segmentor, tmp_path / 'skip.py', skip))(tmp_path / 'bad.png')
    assert isinstance(result.error, UnreadableFileError)


def test_a_run_s_newest_config(segmentor, tmp_path):
    made = [tmp_path / name for name in ('a.py', 'b.py', '2026/vis_data/config.py')]
    made[2].parent.mkdir(parents=True)
    shutil.copy(segmentor[1], tmp_path)
    (tmp_path / 'last_checkpoint').write_text('iter_1.pth')
    for order in ((0, 1, 2), (2, 1, 0), (0, 2, 1)):
        for age, n in enumerate(order):
            changed(segmentor, made[n], lambda cfg, n=n: cfg.update(number=n))
            os.utime(made[n], (age, age))
        assert SegInferencer.of_run(tmp_path).cfg.number == order[-1]


@pytest.mark.parametrize('device', [
    'abacus', 'cuda:99', pytest.param('cuda', marks=pytest.mark.skipif(
        torch.cuda.is_available(), reason='there is a GPU'))])
def test_a_device_that_is_not_there(segmentor, device):
    with pytest.raises(ConfigError, match=f"the device '{device}' cannot be used") as error:
        SegInferencer(*segmentor, device=device)
    assert '\n' not in str(error.value)


def test_segmentors_of_mmsegs_own(segmentor, tmp_path):
    cfg = Config.fromfile(segmentor[0])
    cfg.model.type = 'EncoderDecoder'
    cfg.model.test_cfg = None
    cfg.dump(tmp_path / 'plain.py')
    net = SegInferencer(str(tmp_path / 'plain.py'), segmentor[1], top_k=1)
    result, = net(picture())
    np.testing.assert_array_equal(result.labels, SegInferencer(*segmentor)(picture())[0].labels)
    assert result.top_probs is not None


def test_labels_do_not_drift_where_the_patch_does_not_fit(segmentor):
    """An image of 70 rows and the same with its padding to 80 have the same labels there."""
    array = picture(70, 112)
    padded = np.zeros((80, 112, 3), np.uint8)
    padded[:70] = array
    mean = np.round([123.675, 116.28, 103.53]).astype(np.uint8)
    padded[70:] = mean  # what zero is after normalisation, to within half a step
    net = SegInferencer(*segmentor, scale='original')
    short, long = net([array, padded])
    assert np.mean(short.labels != long.labels[:70]) < 0.02


@pytest.mark.parametrize(('config', 'words'), [
    ('distill/linearizer_adventurer-nano_streets.py', 'distils a backbone, which has no head'),
    ('cls/adventurer-pico_cifar10.py', 'is of a classifier; the inferencers are for'),
    ('det/mask-rcnn_adventurer-nano_streets-512.py',
     'is of a detector: take DetInferencer, or `mmvitlin infer`')])
def test_a_config_of_another_kind(segmentor, config, words):
    with pytest.raises(ConfigError, match=f'{config} {words}'):
        SegInferencer(str(ROOT / 'configs' / config), segmentor[1], 'cpu')


def test_bad_input(infer, segmentor, tmp_path):
    with pytest.raises(ConfigError, match='no image, folder or video at'):
        infer(tmp_path / 'none.png')
    with pytest.raises(ConfigError, match='no images in the folder'):
        infer(tmp_path)
    with pytest.raises(ConfigError, match='must be uint8'):
        infer(np.zeros((4, 4, 3)))
    with pytest.raises(ConfigError, match="precision must be one of.*'int8'"):
        SegInferencer(*segmentor, precision='int8')
    torch.save(dict(state_dict={'backbone.x': torch.zeros(1)}), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='no checkpoint of this config'):
        SegInferencer(segmentor[0], str(tmp_path / 'other.pth'))
