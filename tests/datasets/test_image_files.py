"""Image files as cameras, scanners and copying leave them: range, orientation, what is there."""
import struct

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageOps

from mmvitlin.datasets.transforms.decoding import oriented
from mmvitlin.utils.errors import ConfigError, UnreadableFileError

NOISE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def load(path, **kwargs):
    step = TRANSFORMS.build(dict(type='mmvitlin.LoadImage', **kwargs))
    return step(dict(img_path=str(path)))


def with_orientation(path, pixels, orientation, **kwargs):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **kwargs)
    return path


@pytest.mark.parametrize('orientation', range(1, 9))
def test_pixels_are_turned_as_pillow_turns_them(orientation, tmp_path):
    path = with_orientation(tmp_path / 'x.png', NOISE, orientation)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    turned = oriented(NOISE, orientation)
    assert (turned == expected).all()
    assert (oriented(turned, orientation, back=True) == NOISE).all()


@pytest.mark.parametrize(('name', 'kwargs'), [
    ('x.png', {}), ('x.tif', {}), ('x.webp', dict(lossless=True)), ('x.jpg', dict(quality=100))])
def test_a_photo_taken_sideways_as_shown_and_as_stored(name, kwargs, tmp_path):
    path = with_orientation(tmp_path / name, NOISE, 6, **kwargs)
    shown, stored = load(path), load(path, color_type='color_ignore_orientation')
    assert shown['img'].shape == (9, 6, 3)
    assert stored['img'].shape == (6, 9, 3)
    assert (oriented(stored['img'], 6) == shown['img']).all()
    assert shown['image_header'].turn == 'turned by 90 degrees clockwise'
    if name != 'x.jpg':
        assert (stored['img'][..., ::-1] == NOISE).all()


@pytest.mark.parametrize('name', ['x.png', 'x.tif', 'x.jpg', 'x.webp'])
def test_opencv_turns_what_pillow_turns(name, tmp_path):
    ramp = np.repeat(np.arange(0, 250, 25, np.uint8).reshape(1, 10, 1), 3, 2).repeat(6, 0)
    path = with_orientation(tmp_path / name, ramp, 6)
    for color_type in ('color', 'color_ignore_orientation', 'unchanged'):
        ours, cv = (load(path, color_type=color_type, imdecode_backend=backend)['img'].astype(int)
                    for backend in ('pillow', 'cv2'))
        assert ours.shape == cv.shape
        assert abs(ours - cv).max() < 8, color_type


def test_grey_with_transparency_as_it_is(tmp_path):
    pixels = np.stack([NOISE[..., 0], NOISE[..., 1]], -1)
    Image.fromarray(pixels, 'LA').save(tmp_path / 'x.png')
    assert (load(tmp_path / 'x.png', color_type='unchanged')['img'] == pixels).all()
    assert (load(tmp_path / 'x.png')['img'] == NOISE[..., :1]).all()


@pytest.mark.parametrize(('bits', 'name'), [(10, 'x.png'), (12, 'x.png'), (14, 'x.tif'),
                                            (12, 'rgb.png'), (10, 'rgb.tif')])
def test_16_bit_files_of_a_camera_with_fewer_bits(bits, name, tmp_path):
    white = 2**bits - 1
    pixels = np.linspace(0, white - 3, 54).astype(np.uint16).reshape(6, 9)
    if name.startswith('rgb'):
        pixels = np.stack([pixels, pixels // 2, pixels // 4], -1)
    cv2.imwrite(str(tmp_path / name), pixels)
    with pytest.raises(UnreadableFileError, match=f'{name} has 16 bits and no value above '
                       rf'{white - 3}, .*max_value={white}\)'):
        load(tmp_path / name)
    image = load(tmp_path / name, max_value=white)['img']
    expected = pixels.astype(float) * 256 / 2**bits
    assert np.abs(image - (expected if expected.ndim == 3 else expected[..., None])).max() < 1
    dark = load(tmp_path / name, max_value=65535)['img']
    assert dark.max() == (white - 3) >> 8


def test_16_bit_colours_at_full_range_and_above_the_range_that_was_given(tmp_path):
    pixels = NOISE.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / 'x.png'), pixels)
    assert (load(tmp_path / 'x.png')['img'] == NOISE).all()
    with pytest.raises(UnreadableFileError, match=r'x.png holds \d+, above max_value=4095'):
        load(tmp_path / 'x.png', max_value=4095)
    with pytest.raises(ConfigError, match='max_value must be 1 to 65535, got 70000'):
        load(tmp_path / 'x.png', max_value=70000)


def test_a_pgm_that_says_its_range(tmp_path):
    (tmp_path / 'x.pgm').write_bytes(b'P5 2 1 1023\n' + struct.pack('>HH', 1023, 512))
    assert load(tmp_path / 'x.pgm')['img'][0, :, 0].tolist() == [255, 128]


def test_a_night_image_that_is_all_black_is_no_mistake(tmp_path):
    cv2.imwrite(str(tmp_path / 'x.png'), np.zeros((4, 6), np.uint16))
    assert not load(tmp_path / 'x.png')['img'].any()


def test_images_with_transparency_one_bit_and_four_inks(tmp_path):
    rgba = np.dstack([NOISE, np.full((6, 9), 7, np.uint8)])
    Image.fromarray(rgba).save(tmp_path / 'rgba.png')
    Image.fromarray(NOISE[..., 0]).convert('LA').save(tmp_path / 'la.png')
    Image.fromarray(NOISE[..., 0] > 99).save(tmp_path / 'bit.png')
    Image.fromarray(NOISE).convert('CMYK').save(tmp_path / 'cmyk.tif')
    assert (load(tmp_path / 'rgba.png')['img'][..., ::-1] == NOISE).all()
    assert (load(tmp_path / 'la.png')['img'] == NOISE[..., :1]).all()
    assert (load(tmp_path / 'bit.png')['img'] == 255 * (NOISE[..., :1] > 99)).all()
    assert np.abs(load(tmp_path / 'cmyk.tif')['img'][..., ::-1].astype(int) - NOISE).max() < 3


def test_several_pages(tmp_path):
    first, second = (Image.fromarray(p) for p in (NOISE, 255 - NOISE))
    for name in ('x.tif', 'x.gif', 'x.webp'):
        first.save(tmp_path / name, save_all=True, append_images=[second], lossless=True)
        assert load(tmp_path / name)['image_header'].frames == 2


def test_files_that_were_not_copied_whole(tmp_path):
    (tmp_path / 'empty.png').write_bytes(b'')
    with pytest.raises(UnreadableFileError, match=r'empty.png is empty \(0 bytes\)'):
        load(tmp_path / 'empty.png')
    picture = np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / 'half.jpg')
    whole = (tmp_path / 'half.jpg').read_bytes()
    (tmp_path / 'padded.jpg').write_bytes(whole + bytes(999))  # as some cameras do
    (tmp_path / 'half.jpg').write_bytes(whole[:len(whole) // 2].ljust(len(whole), b'\0'))
    with pytest.raises(UnreadableFileError, match=r'half.jpg ends in zeros .* not copied whole'):
        load(tmp_path / 'half.jpg')
    assert load(tmp_path / 'padded.jpg')['img'].shape == (99, 99, 3)


def test_links_that_lead_nowhere_or_to_themselves_and_folders(tmp_path):
    (tmp_path / 'loop.png').symlink_to(tmp_path / 'loop.png')
    (tmp_path / 'folder.png').mkdir()
    (tmp_path / 'lost.png').symlink_to(tmp_path / 'gone.png')
    for name in ('loop.png', 'folder.png'):
        with pytest.raises(UnreadableFileError, match=f'{name} cannot be read'):
            load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match='lost.png'):
        load(tmp_path / 'lost.png')


def test_boxes_for_the_stored_pixels_of_a_photo_on_its_side(tmp_path, monkeypatch):
    """COCO's height and width say which pixels boxes are for, unless the turn keeps the size."""
    messages = []
    monkeypatch.setattr('mmvitlin.datasets.transforms.loading.print_log',
                        lambda m, **_: messages.append(m))
    path = with_orientation(tmp_path / 'x.jpg', NOISE, 6)
    usual = TRANSFORMS.build(dict(type='mmvitlin.LoadImage'))
    with pytest.raises(UnreadableFileError, match=r'x.jpg \(id 7\) is 9x6 pixels, and its '
                       r'annotations are for 6x9.*EXIF orientation 6 .*color_ignore_orientation'):
        usual(dict(img_path=str(path), img_id=7, height=6, width=9))
    assert usual(dict(img_path=str(path), height=9, width=6))['img'].shape == (9, 6, 3)
    stored = TRANSFORMS.build(dict(type='mmvitlin.LoadImage',
                                   color_type='color_ignore_orientation'))
    assert stored(dict(img_path=str(path), height=6, width=9))['img'].shape == (6, 9, 3)
    assert not messages
    with_orientation(path, NOISE, 4)
    usual(dict(img_path=str(path), height=6, width=9))
    usual(dict(img_path=str(path), height=6, width=9))
    assert len(messages) == 1
    assert 'x.jpg has EXIF orientation 4 (mirrored upside down), and its annotation file does' in \
        messages[0]


def test_grey_of_colours_of_any_depth(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'eight.png')
    cv2.imwrite(str(tmp_path / 'sixteen.png'), pixels[..., ::-1].astype(np.uint16) * 257)
    expected = np.asarray(Image.fromarray(pixels).convert('L'))
    for name in ('eight', 'sixteen'):
        grey = load(tmp_path / f'{name}.png', color_type='grayscale')['img']
        assert (grey == expected).all()

