"""Images, folders and videos of every kind, size and state."""
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmvitlin.apis import SegInferencer
from mmvitlin.apis.sources import count_inputs
from mmvitlin.utils.errors import ConfigError, UnreadableFileError
from tests.apis.pictures import picture


def video(path, frames):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5, (100, 60))
    for n in range(frames):
        writer.write(picture(seed=n))
    writer.release()


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
    by_name = {r.name: r for r in infer(tmp_path)}
    assert all(r.error is None for r in by_name.values())
    assert all(r.labels.shape == (60, 100) for r in by_name.values())
    grey = np.asarray(rgb.convert('L'))
    np.testing.assert_array_equal(by_name['grey'].image[..., 0], grey)
    np.testing.assert_array_equal(by_name['wide'].image[..., 1], grey)
    np.testing.assert_array_equal(by_name['rgba'].image, array)
    for name, bound in (('turned', 15), ('palette', 25), ('cmyk', 25)):
        gap = np.abs(by_name[name].image.astype(int) - array).mean()
        assert gap < bound, (name, gap)


def test_sizes(infer, segmentor, tmp_path):
    shapes = ((1, 1), (5, 300), (333, 40), (17, 16))
    for shape, result in zip(shapes, infer([picture(*s) for s in shapes], batch_size=2),
                             strict=True):
        assert result.error is None
        assert result.labels.shape == shape
    seen = []
    for scale, expected in (('original', (60, 100)), (0.5, (30, 50)), ((50, 50), (30, 50))):
        net = SegInferencer(*segmentor, scale=scale)
        net.model.backbone.register_forward_pre_hook(lambda m, a: seen.append(a[0].shape[-2:]))
        assert net(picture())[0].labels.shape == (60, 100)
        assert tuple(seen[-1]) == tuple(-(-n // 16) * 16 for n in expected)  # padded to patches
    SegInferencer(*segmentor, scale=(np.int64(64), 32.))
    for scale in ('large', float('inf'), float('nan'), 0, True, (0, 64), (64, ), (1.5, 2)):
        with pytest.raises(ConfigError, match='scale must be'):
            SegInferencer(*segmentor, scale=scale)


def test_pictures_and_what_is_no_image(infer, tmp_path):
    array = picture()
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(array).rotate(-90, expand=True).save(tmp_path / 'a.png', exif=exif)
    with Image.open(tmp_path / 'a.png') as opened:
        result, = infer(opened)
        assert result.turned == 'turned by 90 degrees anticlockwise'
        assert (infer.read(opened)[0] == array).all()
        usual, infer._reads = infer._reads, lambda option, default: (
            option == 'ignores_orientation' or default)
        stored, = infer(opened)
        infer._reads = usual
    assert (stored.image == np.rot90(array, -1)).all()
    assert stored.turned == ''
    assert (result.image == array).all()
    assert (result.labels == infer(array)[0].labels).all()
    assert infer(Image.fromarray(array).convert('L'))[0].labels.shape == (60, 100)
    for wrong in (torch.zeros(3, 60, 100), None, 3, Image.fromarray(array[..., 0].astype('i4'))):
        with pytest.raises(ConfigError, match='an image is a file|more than 8 bits'):
            infer(wrong)
    good, bad = infer([array, torch.zeros(3, 60, 100)])
    assert good.error is None
    assert 'permute(1, 2, 0).numpy()' in str(bad.error)


def test_hidden_files_of_a_folder_are_left_out(infer, tmp_path):
    Image.fromarray(picture()).save(tmp_path / 'a.png')
    (tmp_path / '._a.png').write_bytes(b'of macOS')
    (tmp_path / '.ipynb_checkpoints').mkdir()
    Image.fromarray(picture()).save(tmp_path / '.ipynb_checkpoints' / 'a-checkpoint.png')
    result, = infer(tmp_path)
    assert result.name == 'a'
    assert count_inputs([tmp_path]) == 1
    (tmp_path / 'a.png').unlink()
    with pytest.raises(ConfigError, match='no images in the folder'):
        infer(tmp_path)


def test_names_are_all_different(infer, tmp_path):
    for folder in ('day', 'night'):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture()).save(tmp_path / folder / 'a.png')
        Image.fromarray(picture()).save(tmp_path / folder / 'a.jpg')
    results = infer([tmp_path / 'day', tmp_path / 'night', picture(), picture()])
    names = [r.name for r in results]
    assert names == ['a', 'a_png', 'a_jpg', 'night_a', 'image_0002', 'image_0003']


def test_a_video(infer, tmp_path):
    path = tmp_path / 'drive.avi'
    video(path, 3)
    results = list(infer.stream(path))
    assert [r.name for r in results] == [f'drive_{n:06d}' for n in range(3)]
    assert all(r.labels.shape == (60, 100) for r in results)


def test_a_video_in_a_folder(infer, tmp_path):
    video(tmp_path / 'drive.avi', 2)
    from mmvitlin.apis.sources import count_inputs
    assert [r.name for r in infer(tmp_path)] == ['drive_000000', 'drive_000001']
    assert count_inputs([tmp_path]) == 2


def test_a_folder_with_the_name_of_an_image(infer, tmp_path):
    from mmvitlin.apis.sources import count_inputs
    for name in ('x.png', 'y.mp4'):
        (tmp_path / name).mkdir()
    Image.fromarray(picture()).save(tmp_path / 'x.png' / 'a.png')
    result, = infer(tmp_path)
    assert result.error is None
    assert count_inputs([tmp_path]) == 1


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


def test_one_bad_input_does_not_stop_the_others(infer, tmp_path):
    Image.fromarray(picture()).save(tmp_path / 'good.png')
    (tmp_path / 'bad.mp4').write_bytes(b'no video')
    results = infer([tmp_path / 'bad.mp4', tmp_path / 'none.png', np.zeros((4, 4, 4), np.uint8),
                     tmp_path / 'good.png', np.zeros((2, 3000, 3), np.uint8), tmp_path])
    errors = [r.error is not None for r in results]
    assert errors == [True, True, True, False, False, True, False]
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


def test_a_video_is_closed_when_iteration_stops(tmp_path, monkeypatch):
    from mmvitlin.apis.sources import list_inputs
    video(tmp_path / 'a.avi', 3)
    usual, closed = cv2.VideoCapture, []

    class Watched:

        def __init__(self, path):
            self.inner = usual(path)
            self.read, self.get, self.set = self.inner.read, self.inner.get, self.inner.set

        def release(self):
            closed.append(self)

    monkeypatch.setattr(cv2, 'VideoCapture', Watched)
    frames = list_inputs(tmp_path / 'a.avi')
    next(frames)
    assert not closed
    frames.close()
    assert len(closed) == 1


def turned(path, orientation, **kwargs):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture()).save(path, exif=exif, **kwargs)


def test_what_is_written_of_a_turned_photo_says_which_pixels_it_fits(infer, segmentor, tmp_path):
    (tmp_path / 'in').mkdir()
    turned(tmp_path / 'in/side.jpg', 6)
    turned(tmp_path / 'in/over.png', 3)
    Image.fromarray(picture()).save(tmp_path / 'in/up.png')
    stored = {'test_dataloader.dataset.pipeline.0.color_type': 'color_ignore_orientation'}
    over, side, up = infer(tmp_path / 'in')
    assert (over.turned, up.turned) == ('turned by 180 degrees', '')
    assert side.labels.shape == (100, 60)
    np.testing.assert_array_equal(over.image, picture()[::-1, ::-1])
    for result in (over, side, up):
        result.save(tmp_path / 'out')
    for kind in ('labels', 'overlay'):
        written = {n: Image.open(tmp_path / 'out' / kind / f'{n}.png') for n in ('side', 'up')}
        assert written['side'].size == (60, 100)
        assert written['side'].text['Raster'] == (
            'as viewers show the image (turned by 90 degrees clockwise by its EXIF orientation), '
            'not as its pixels are stored')
        assert not written['up'].text
    over, side, _ = SegInferencer(*segmentor, cfg_options=stored)(tmp_path / 'in')
    assert (over.turned, side.labels.shape) == ('', (60, 100))
    np.testing.assert_array_equal(over.image, picture())


def test_dark_16_bit_files_and_the_range_that_is_given(infer, segmentor, tmp_path):
    wide = picture()[..., 0].astype(np.uint16) * 16 + 15
    cv2.imwrite(str(tmp_path / 'grey.png'), wide)
    cv2.imwrite(str(tmp_path / 'rgb.tif'), np.dstack([wide] * 3))
    results = infer(tmp_path)
    assert all('16 bits' in str(r.error) and 'max_value=4095' in str(r.error) for r in results)
    ranged = {'test_dataloader.dataset.pipeline.0.max_value': 4095}
    for result in SegInferencer(*segmentor, cfg_options=ranged)(tmp_path):
        np.testing.assert_array_equal(result.image[..., 1], picture()[..., 0])


def test_files_that_mmcvs_reader_would_take_are_refused_like_ours(segmentor, tmp_path):
    Image.fromarray(picture()).save(tmp_path / 'cut.jpg')
    whole = (tmp_path / 'cut.jpg').read_bytes()
    (tmp_path / 'cut.jpg').write_bytes(whole[:len(whole) // 2])
    step = {'test_dataloader.dataset.pipeline.0': dict(type='LoadImageFromFile')}
    result, = SegInferencer(*segmentor, cfg_options=step)(tmp_path / 'cut.jpg')
    assert 'cut.jpg' in str(result.error)


def test_empty_files_broken_links_and_unsupported_formats(infer, tmp_path):
    Image.fromarray(picture()).save(tmp_path / 'good.PNG')
    (tmp_path / 'empty.jpg').write_bytes(b'')
    (tmp_path / 'lost.png').symlink_to(tmp_path / 'gone.png')
    (tmp_path / 'phone.HEIC').write_bytes(b'x')
    results = {r.name: r.error for r in infer(tmp_path)}
    assert 'is empty (0 bytes)' in str(results['empty'])
    assert 'lost.png' in str(results['lost'])
    assert results['good'] is None
    assert len(results) == 3
    (tmp_path / 'other').mkdir()
    (tmp_path / 'phone.HEIC').rename(tmp_path / 'other' / 'phone.HEIC')
    with pytest.raises(ConfigError, match="there are 1 '.HEIC', convert them"):
        infer(tmp_path / 'other')
