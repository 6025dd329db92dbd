"""The inferencer on files of every kind, size and state."""
import os
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmvitlin.apis import SegInferencer
from mmvitlin.errors import CheckpointError, ConfigError, UnreadableFileError
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


def video(path, frames):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5, (100, 60))
    for n in range(frames):
        writer.write(picture(seed=n))
    writer.release()


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
        assert result.error is None
        assert result.labels.shape == shape
    seen = []
    for scale, want in (('original', (60, 100)), (0.5, (30, 50)), ((50, 50), (30, 50))):
        net = SegInferencer(*trained, scale=scale)
        net.model.backbone.register_forward_pre_hook(lambda m, a: seen.append(a[0].shape[-2:]))
        assert net(picture())[0].labels.shape == (60, 100)
        assert tuple(seen[-1]) == tuple(-(-n // 16) * 16 for n in want)  # padded to patches
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
    with pytest.raises(UnreadableFileError, match='b.jpg'):
        results[1].save(tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_video(infer, tmp_path):
    path = tmp_path / 'drive.avi'
    video(path, 3)
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


def at_scale_of_config(config, width=200, height=120):
    from mmcv import rescale_size
    resize = next(t for t in Config.fromfile(config).test_pipeline if t['type'] == 'Resize')
    return rescale_size((width, height), resize['scale'])


def test_an_image_beyond_memory_is_refused_with_a_number(infer, trained, monkeypatch):
    from mmvitlin.apis.memory import MemoryLaw
    monkeypatch.setattr('mmvitlin.apis.inferencer._LARGE', 64 * 64)
    infer._law = MemoryLaw(100., 1000.)
    wide, high = at_scale_of_config(trained[0])
    needed = 100 + wide * high / 1000
    for there, refused in ((needed - 1, True), (needed + 1, False)):
        monkeypatch.setattr('mmvitlin.apis.inferencer.free_mebibytes', lambda d, t=there: t)
        result, = infer(picture(120, 200))
        assert (result.error is not None) == refused, result.error
        if refused:
            assert isinstance(result.error, ConfigError)
            assert f'image: {high}x{wide} pixels need about 0.2 GiB' in str(result.error)
            assert 'model.test_cfg.mode=slide' in str(result.error)


def test_a_batch_is_no_larger_than_memory(infer, trained, monkeypatch):
    from mmvitlin.apis.memory import MemoryLaw
    monkeypatch.setattr('mmvitlin.apis.inferencer._LARGE', 64 * 64)
    infer._law = MemoryLaw(100., 1000.)
    wide, high = at_scale_of_config(trained[0])
    each = wide * high / 1000  # MiB
    usual, sizes = infer.outputs, []
    monkeypatch.setattr(infer, 'outputs', lambda data: sizes.append(len(data)) or usual(data))
    for count, want in ((1.5, [1] * 4), (2.5, [2, 2]), (4.5, [4])):
        monkeypatch.setattr('mmvitlin.apis.inferencer.free_mebibytes',
                            lambda device, n=count: 100 + n * each)
        sizes.clear()
        assert all(r.error is None for r in infer([picture(120, 200)] * 4, batch_size=4))
        assert sizes == want


@pytest.mark.parametrize(('wanted', 'each'), [
    (dict(), 0), (dict(probabilities=True), 38), (dict(top_k=4), 12), (dict(top_k=50), 57)])
def test_bytes_of_results(trained, wanted, each):
    net = SegInferencer(*trained, scale='original', **wanted)
    assert net._bytes_of_results(1000) == 1000 * each
    result, = net(picture())
    arrays = (result.probabilities, result.top_classes, result.top_probs)
    assert sum(a.nbytes for a in arrays if a is not None) == each * 60 * 100


@pytest.mark.parametrize(('line', 'names', 'cached'), [
    ('0::/job/step', ('memory.max', 'memory.current'), 'inactive_file'),
    ('4:cpu,memory:/job/step', ('memory.limit_in_bytes', 'memory.usage_in_bytes'),
     'total_inactive_file')])
def test_the_limit_of_a_control_group(tmp_path, line, names, cached):
    from mmvitlin.apis.memory import _left_to_control_group
    (tmp_path / 'told').write_text(f'9:name=systemd:/\n{line}\n')
    root = tmp_path / 'root'
    job = root / ('memory/job' if 'cpu' in line else 'job')
    (job / 'step').mkdir(parents=True)
    assert _left_to_control_group(tmp_path / 'told', root) == float('inf')
    for group, limit, used in ((job, 900, 500), (job / 'step', 'max', 400)):
        (group / names[0]).write_text(f'{limit}\n')
        (group / names[1]).write_text(f'{used}\n')
        (group / 'memory.stat').write_text(f'anon 1\n{cached} 70\n')
    left = _left_to_control_group(tmp_path / 'told', root)
    assert left == 900 - 500 + 70  # of the group above


def test_a_panorama_is_refused_before_it_is_decoded(infer, tmp_path, monkeypatch):
    Image.new('RGB', (40000, 5000)).save(tmp_path / 'wide.png')  # 600 MB, in a small file
    Image.fromarray(picture()).save(tmp_path / 'small.png')
    monkeypatch.setattr('mmvitlin.apis.inferencer.free_mebibytes', lambda device: 1000.)
    load = infer.load
    monkeypatch.setattr(infer, 'load', lambda r: pytest.fail('decoded') if 'wide' in r['img_path']
                        else load(r))
    small, wide = infer(tmp_path)
    assert small.error is None
    assert 'wide.png: 5000x40000 pixels need about 2.2 GiB, and 1.0 GiB are free' in \
        str(wide.error)


@pytest.mark.parametrize(('measured', 'at', 'want'), [
    ([110., 210., 310., 410.], 10., 1010.),  # a line
    ([110., 212., 309., 411.], 10., 1011.),  # noise is no curve
    ([110., 210., 350., 410.], 10., 1023.),  # nor is one reading that is too high
    ([110., 210., 310., 550.], 10., 1700.),  # even the last
    ([110., 410., 910., 1610.], 10., 10010.),  # a curve
    ([300., 300., 300., 300.], 10., 300.),
])
def test_the_law_of_memory(measured, at, want):
    from mmvitlin.apis.memory import fit
    law = fit([n * 10**6 for n in (1, 2, 3, 4)], measured)
    assert law(round(at * 1e6)) == pytest.approx(want, rel=0.01)


@pytest.mark.slow
def test_memory_is_measured_where_it_matters(trained, monkeypatch):
    monkeypatch.setattr('mmvitlin.apis.inferencer._LARGE', 64 * 64)
    net = SegInferencer(*trained)
    assert net(picture(120, 200))[0].error is None
    assert 0 < net._law(10**6) < 4000
    windows = SegInferencer(*trained, cfg_options={
        'model.test_cfg.mode': 'slide', 'model.test_cfg.crop_size': (128, 128),
        'model.test_cfg.stride': (96, 96)})
    assert windows(picture(120, 200))[0].error is None
    # for so small a network windows and whole image need the same, and neither grows as a square
    for law in (net._law, windows._law):
        assert law.per_square == 0.
    assert windows._law(10**8) < 1.5 * net._law(10**8)


def test_names_are_all_different(infer, tmp_path):
    for folder in ('day', 'night'):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture()).save(tmp_path / folder / 'a.png')
        Image.fromarray(picture()).save(tmp_path / folder / 'a.jpg')
    results = infer([tmp_path / 'day', tmp_path / 'night', picture(), picture()])
    names = [r.name for r in results]
    assert names == ['a', 'a_png', 'a_jpg', 'night_a', 'image_0002', 'image_0003']


def test_one_bad_input_does_not_stop_the_others(infer, tmp_path):
    Image.fromarray(picture()).save(tmp_path / 'good.png')
    (tmp_path / 'bad.mp4').write_bytes(b'no video')
    results = infer([tmp_path / 'bad.mp4', tmp_path / 'none.png', np.zeros((4, 4, 4), np.uint8),
                     tmp_path / 'good.png', np.zeros((2, 3000, 3), np.uint8), tmp_path])
    errors = [r.error is not None for r in results]
    assert errors == [True, True, True, False, True, True, False]
    assert 'gives no frame' in str(results[0].error)


def test_a_truncated_video_says_so(infer, tmp_path):
    from mmvitlin.apis.sources import list_inputs
    video(tmp_path / 'cut.avi', 8)
    assert len(infer(tmp_path / 'cut.avi')) == 8
    whole = (tmp_path / 'cut.avi').read_bytes()
    (tmp_path / 'cut.avi').write_bytes(whole[:len(whole) // 2])
    *frames, (_, last) = list_inputs(tmp_path / 'cut.avi')
    assert 0 < len(frames) < 8
    assert isinstance(last, UnreadableFileError)
    assert f'cut.avi gives {len(frames)} of 8 frames' in str(last)
    results = infer(tmp_path)
    assert [r.error is None for r in results] == [True] * len(frames) + [False]


def test_a_video_is_closed_when_nobody_asks_for_the_rest(tmp_path, monkeypatch):
    from mmvitlin.apis.sources import list_inputs
    video(tmp_path / 'a.avi', 3)
    usual, closed = cv2.VideoCapture, []

    class Watched:

        def __init__(self, path):
            self.inner = usual(path)
            self.read, self.get = self.inner.read, self.inner.get

        def release(self):
            closed.append(self)

    monkeypatch.setattr(cv2, 'VideoCapture', Watched)
    frames = list_inputs(tmp_path / 'a.avi')
    next(frames)
    assert not closed
    frames.close()
    assert len(closed) == 1


def test_a_folder_with_the_name_of_an_image(infer, tmp_path):
    from mmvitlin.apis.sources import count_inputs
    for name in ('x.png', 'y.mp4'):
        (tmp_path / name).mkdir()
    Image.fromarray(picture()).save(tmp_path / 'x.png' / 'a.png')
    result, = infer(tmp_path)
    assert result.error is None
    assert count_inputs([tmp_path]) == 1


def test_a_video_in_a_folder(infer, tmp_path):
    video(tmp_path / 'drive.avi', 2)
    from mmvitlin.apis.sources import count_inputs
    assert [r.name for r in infer(tmp_path)] == ['drive_000000', 'drive_000001']
    assert count_inputs([tmp_path]) == 2


def test_out_of_memory_together_is_run_one_by_one(infer, monkeypatch):
    usual = infer.outputs

    def small(data):
        if len(data) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return usual(data)

    monkeypatch.setattr(infer, 'outputs', small)
    assert [r.error for r in infer([picture(), picture()], batch_size=2)] == [None, None]


def test_images_of_one_size_run_together_whatever_lies_between(infer, monkeypatch):
    usual, sizes = infer.outputs, []
    monkeypatch.setattr(infer, 'outputs', lambda data: sizes.append(len(data)) or usual(data))
    results = infer([picture(), picture(80, 50), picture()], batch_size=3)
    assert sorted(sizes) == [1, 2]
    assert [r.labels.shape for r in results] == [(60, 100), (80, 50), (60, 100)]


def test_classes_have_names(infer):
    assert infer.classes[:2] == ('road', 'sidewalk')
    assert tuple(infer.palette[0]) == (128, 64, 128)


def test_the_palette_is_that_of_the_chosen_classes(trained):
    key = 'test_dataloader.dataset.metainfo'
    road, car = (128, 64, 128), (0, 0, 142)
    for told, want in ((dict(classes=('car', 'road')), [car, road]),
                       (dict(classes=('car', 'road'), palette=[road, car]), [road, car])):
        net = SegInferencer(*trained, cfg_options={key: told})
        assert net.classes == ('car', 'road')
        np.testing.assert_array_equal(net.palette, want)
    unknown = SegInferencer(*trained, cfg_options={key: dict(classes=('sofa', 'bed'))})
    assert unknown.palette.shape == (2, 3)


def changed(trained, path, change):
    cfg = Config.fromfile(trained[0])
    change(cfg)
    cfg.dump(path)
    return str(path), trained[1]


def test_a_test_set_that_does_not_say_how_images_are_read(trained, tmp_path):
    def repeated(cfg):
        cfg.test_dataloader.dataset = dict(type='RepeatDataset', times=2,
                                           dataset=cfg.test_dataloader.dataset)

    for change, words in ((repeated, 'not a RepeatDataset'),
                          (lambda cfg: cfg.pop('test_dataloader'), 'not nothing')):
        made = changed(trained, tmp_path / 'other.py', change)
        with pytest.raises(ConfigError, match=f'other.py: test_dataloader.dataset must.*{words}'):
            SegInferencer(*made)


def test_the_error_of_a_file_is_not_left_out(trained, tmp_path):
    def skip(cfg):
        cfg.test_dataloader.dataset.pipeline[0].update(skip_unreadable=5, ignore_empty=True)

    (tmp_path / 'bad.png').write_bytes(b'no image')
    result, = SegInferencer(*changed(trained, tmp_path / 'skip.py', skip))(tmp_path / 'bad.png')
    assert isinstance(result.error, UnreadableFileError)


def test_a_run_s_newest_config(trained, tmp_path):
    made = [tmp_path / name for name in ('a.py', 'b.py', '2026/vis_data/config.py')]
    made[2].parent.mkdir(parents=True)
    shutil.copy(trained[1], tmp_path)
    (tmp_path / 'last_checkpoint').write_text('iter_1.pth')
    for order in ((0, 1, 2), (2, 1, 0), (0, 2, 1)):
        for age, n in enumerate(order):
            changed(trained, made[n], lambda cfg, n=n: cfg.update(number=n))
            os.utime(made[n], (age, age))
        assert SegInferencer.of_run(tmp_path).cfg.number == order[-1]


@pytest.mark.parametrize('device', [
    'abacus', 'cuda:99', pytest.param('cuda', marks=pytest.mark.skipif(
        torch.cuda.is_available(), reason='there is a GPU'))])
def test_a_device_that_is_not_there(trained, device):
    with pytest.raises(ConfigError, match=f"the device '{device}' cannot be used") as told:
        SegInferencer(*trained, device=device)
    assert '\n' not in str(told.value)


def test_segmentors_of_mmsegs_own(trained, tmp_path):
    cfg = Config.fromfile(trained[0])
    cfg.model.type = 'EncoderDecoder'
    cfg.model.test_cfg = None
    cfg.dump(tmp_path / 'plain.py')
    net = SegInferencer(str(tmp_path / 'plain.py'), trained[1], top_k=1)
    result, = net(picture())
    np.testing.assert_array_equal(result.labels, SegInferencer(*trained)(picture())[0].labels)
    assert result.top_probs is not None


def test_labels_do_not_drift_where_the_patch_does_not_fit(trained):
    """An image of 70 rows and the same with its padding to 80 have the same labels there."""
    array = picture(70, 112)
    padded = np.zeros((80, 112, 3), np.uint8)
    padded[:70] = array
    mean = np.round([123.675, 116.28, 103.53]).astype(np.uint8)
    padded[70:] = mean  # what zero is after normalisation, to within half a step
    net = SegInferencer(*trained, scale='original')
    short, long = net([array, padded])
    assert np.mean(short.labels != long.labels[:70]) < 0.02


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
