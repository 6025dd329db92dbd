"""The inferencer on files of every kind, size and state."""
import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmvitlin.apis import SegInferencer
from mmvitlin.errors import CheckpointError, ConfigError
from tests.conftest import ROOT


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A small streets segmentor with random weights: its config and checkpoint."""
    folder = tmp_path_factory.mktemp('model')
    cfg = Config.fromfile(ROOT / 'configs/seg/streets_adventurer-nano.py')
    cfg.model.backbone.update(arch=dict(embed_dims=32, num_layers=2))
    cfg.model.decode_head.update(in_channels=32, channels=16)
    cfg.dump(folder / 'config.py')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    net = MODELS.build(cfg.model)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    torch.save(dict(state_dict=net.state_dict()), folder / 'iter_1.pth')
    return str(folder / 'config.py'), str(folder / 'iter_1.pth')


@pytest.fixture
def infer(trained):
    return SegInferencer(*trained)


def picture(height=60, width=100, seed=0):
    yy, xx = np.mgrid[:height, :width]
    noise = np.random.RandomState(seed).randint(0, 60, (height, width, 3))
    return (np.stack([xx % 200, yy * 2 % 200, (xx + yy) % 200], -1) + noise).astype(np.uint8)


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


def test_images_of_every_kind(infer, tmp_path):
    array = picture()
    rgb = Image.fromarray(array)
    rgb.save(tmp_path / 'rgb.png')
    rgb.convert('L').save(tmp_path / 'grey.png')
    rgb.convert('RGBA').save(tmp_path / 'rgba.png')
    rgb.convert('CMYK').save(tmp_path / 'cmyk.jpg', quality=100)
    rgb.quantize(64).save(tmp_path / 'palette.png')
    wide = np.asarray(rgb.convert('L')).astype(np.uint16) * 257
    Image.fromarray(wide).save(tmp_path / 'wide.png')
    turned = rgb.rotate(-90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 8  # to be shown turned by 90 degrees to the left
    turned.save(tmp_path / 'turned.jpg', exif=exif, quality=100)
    found = {r.name: r for r in infer(tmp_path)}
    assert all(r.error is None for r in found.values())
    assert all(r.labels.shape == (60, 100) for r in found.values())
    grey = np.asarray(rgb.convert('L'))
    np.testing.assert_array_equal(found['grey'].image[..., 0], grey)
    np.testing.assert_array_equal(found['wide'].image[..., 1], grey)
    np.testing.assert_array_equal(found['rgba'].image, array)
    for name, bound in (('turned', 15), ('palette', 25), ('cmyk', 25)):
        gap = np.abs(found[name].image.astype(int) - array).mean()
        assert gap < bound, (name, gap)


def test_sizes(infer, trained, tmp_path):
    shapes = ((1, 1), (5, 300), (333, 40), (17, 16))
    for shape, result in zip(shapes, infer([picture(*s) for s in shapes], batch_size=2),
                             strict=True):
        if shape == (5, 300):  # scaled to 9x512, less than a patch
            assert '9x512 pixels is smaller than one patch of 16x16' in str(result.error)
        else:
            assert result.error is None
            assert result.labels.shape == shape
    seen = []
    for scale, want in (('original', (60, 100)), (0.5, (30, 50)), ((50, 50), (30, 50))):
        net = SegInferencer(*trained, scale=scale)
        net.model.backbone.register_forward_pre_hook(lambda m, a: seen.append(a[0].shape[-2:]))
        assert net(picture())[0].labels.shape == (60, 100)
        assert tuple(seen[-1]) == want
    with pytest.raises(ConfigError, match='scale must be'):
        SegInferencer(*trained, scale='large')


def test_a_corrupt_file_does_not_stop_the_others(infer, tmp_path):
    for name in 'abc':
        Image.fromarray(picture()).save(tmp_path / f'{name}.jpg')
    whole = (tmp_path / 'b.jpg').read_bytes()
    (tmp_path / 'b.jpg').write_bytes(whole[:len(whole) // 2])
    results = infer(tmp_path, batch_size=2)
    assert [r.error is None for r in results] == [True, False, True]
    assert 'b.jpg' in str(results[1].error)
    assert results[2].labels is not None


def test_a_video(infer, tmp_path):
    path = tmp_path / 'drive.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5, (100, 60))
    for n in range(3):
        writer.write(picture(seed=n))
    writer.release()
    results = list(infer.stream(path))
    assert [r.name for r in results] == [f'drive_{n:06d}' for n in range(3)]
    assert all(r.labels.shape == (60, 100) for r in results)


def test_what_is_written(trained, tmp_path):
    result, = SegInferencer(*trained, probabilities=True, top_k=2)(picture())
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


def test_half_precision_changes_little(infer, trained):
    a, = infer(picture(200, 300))
    b, = SegInferencer(*trained, precision='bf16')(picture(200, 300))
    assert np.mean(a.labels != b.labels) < 0.1


def test_an_image_beyond_memory_is_refused_with_a_number(infer, monkeypatch):
    monkeypatch.setattr('mmvitlin.apis.seg_inferencer._LARGE', 64 * 64)
    monkeypatch.setattr('psutil.virtual_memory', lambda: type('M', (), dict(available=2**10))())
    result, = infer(picture(120, 200))
    assert isinstance(result.error, ConfigError)
    assert 'pixels need about' in str(result.error)
    assert 'slide' in str(result.error)


def test_bad_input(infer, trained, tmp_path):
    with pytest.raises(ConfigError, match='no image, folder or video at'):
        infer(tmp_path / 'none.png')
    with pytest.raises(ConfigError, match='no images in the folder'):
        infer(tmp_path)
    with pytest.raises(ConfigError, match='must be uint8'):
        infer(np.zeros((4, 4, 3)))
    with pytest.raises(ConfigError, match="precision must be one of.*'int8'"):
        SegInferencer(*trained, precision='int8')
    torch.save(dict(state_dict={'backbone.x': torch.zeros(1)}), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='no checkpoint of this config'):
        SegInferencer(trained[0], str(tmp_path / 'other.pth'))
