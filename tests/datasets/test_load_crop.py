"""A random crop that is read in one step: the libraries' crop, and all that LoadImage refuses."""
import io

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from mmpretrain.datasets.transforms import ColorJitter, RandomResizedCrop
from PIL import Image

from mmvitlin.datasets.transforms.colour import color_matrix
from mmvitlin.datasets.transforms.decoding import plain_jpeg, read_header
from mmvitlin.utils.errors import ConfigError, UnreadableFileError


def smooth(height, width):
    """An image without noise (H, W, 3): a ramp a channel and a disc."""
    y, x = np.mgrid[:height, :width]
    disc = 90 * ((y - height / 2)**2 + (x - width / 2)**2 < (height / 3)**2)
    return np.stack([255 * y / height, 255 * x / width, 60 + disc], 2).astype(np.uint8)


def write(path, image, orientation=1, **options):
    picture = Image.fromarray(image[..., ::-1])
    if orientation != 1:
        exif = options['exif'] = Image.Exif()
        exif[0x0112] = orientation
    picture.save(path, quality=95, **options)
    return str(path)


def load(path, seed=0, **kwargs):
    np.random.seed(seed)
    return TRANSFORMS.build(dict(type='mmvitlin.LoadCrop', **{'scale': 24, **kwargs}))(
        dict(img_path=path))


def in_two_steps(path, seed=0, scale=24, **kwargs):
    """Crop of mmpretrain after the whole image was read, resized by OpenCV."""
    image = TRANSFORMS.build(dict(type='mmvitlin.LoadImage', **kwargs))(dict(img_path=path))
    np.random.seed(seed)
    return RandomResizedCrop(scale, interpolation='bicubic')(image)['img']


@pytest.mark.parametrize('orientation', [1, 2, 3, 6, 8])
@pytest.mark.parametrize('keep', [False, True])
def test_pixels_are_those_of_the_two_steps(tmp_path, orientation, keep):
    path = write(tmp_path / 'x.jpg', smooth(30, 34), orientation)
    for seed in range(4):
        result = load(path, seed, keep_in_memory=keep)
        assert result['ori_shape'] == ((34, 30) if orientation >= 5 else (30, 34))
        assert (result['img'] == in_two_steps(path, seed)).all()
    stored = load(path, color_type='color_ignore_orientation')
    assert (stored['img'] == in_two_steps(path, color_type='color_ignore_orientation')).all()


@pytest.mark.parametrize(('name', 'mode'), [('grey.jpg', 'L'), ('print.jpg', 'CMYK'),
                                            ('x.png', 'RGB'), ('progressive.jpg', 'RGB')])
def test_other_files_are_read_as_LoadImage_reads_them(tmp_path, name, mode):
    path = tmp_path / name
    Image.fromarray(smooth(32, 32)).convert(mode).save(
        path, **dict(progressive=True) if 'progressive' in name else {})
    assert (load(str(path))['img'] == in_two_steps(str(path))).all()


def test_a_file_cut_anywhere_is_refused_as_LoadImage_refuses_it(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(smooth(64, 64)).save(whole, 'JPEG', quality=95)
    whole, path = whole.getvalue(), tmp_path / 'cut.jpg'
    reader = TRANSFORMS.build(dict(type='mmvitlin.LoadImage'))
    for length in (3, 100, len(whole) // 2, len(whole) - 200, len(whole) - 2):
        for end in (b'', bytes(100)):
            path.write_bytes(whole[:length] + end)
            with pytest.raises(UnreadableFileError, match='cut.jpg'):
                reader(dict(img_path=str(path)))
            with pytest.raises(UnreadableFileError, match='cut.jpg'):
                load(str(path))
    path.write_bytes(whole)
    with pytest.raises(UnreadableFileError, match="more than 10.*LoadCrop', max_pixels=None"):
        load(str(path), max_pixels=10)
    path.write_bytes(b'')
    with pytest.raises(UnreadableFileError, match='empty'):
        load(str(path))
    assert load(str(path), skip_unreadable=1) is None


def test_large_files_are_decoded_small_where_the_crop_allows_it(tmp_path, monkeypatch):
    image = smooth(400, 480)
    path = write(tmp_path / 'large.jpg', image)
    flags, usual = [], cv2.imdecode
    monkeypatch.setattr(cv2, 'imdecode', lambda c, flag: (flags.append(flag), usual(c, flag))[1])
    for seed in range(6):
        drafted, exact = (load(path, seed, draft=draft, scale=48)['img'] for draft in (True, False))
        assert np.abs(drafted.astype(int) - exact).mean() < 1.5  # of 255
    used = {flag & ~cv2.IMREAD_IGNORE_ORIENTATION for flag in flags[::2]}
    assert used <= {cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_COLOR,
                    cv2.IMREAD_REDUCED_COLOR_8}
    assert used & {cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_COLOR_4}
    assert set(flags[1::2]) == {cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION}


def test_half_of_the_results_are_mirrored(tmp_path):
    path = write(tmp_path / 'x.jpg', smooth(30, 34))
    flips = 0
    for seed in range(20):
        plain, result = load(path, seed), load(path, seed, flip_prob=0.5)
        expected = plain['img'][:, ::-1] if result['flip'] else plain['img']
        assert (result['img'] == expected).all()
        flips += result['flip']
    assert 4 < flips < 16


@pytest.mark.parametrize('options', [
    dict(interpolation='lanczos'), dict(to_float32=True), dict(color_type='grayscale'),
    dict(imdecode_backend='cv2')])
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(ConfigError, match='LoadCrop'):
        load('nowhere.jpg', **options)


def test_boxes_are_not_left_behind(tmp_path):
    step = TRANSFORMS.build(dict(type='mmvitlin.LoadCrop', scale=24))
    with pytest.raises(ConfigError, match='not their boxes'):
        step(dict(img_path=write(tmp_path / 'x.jpg', smooth(30, 34)), instances=[dict()]))


def test_the_color_matrix_is_ColorJitter_where_nothing_is_clipped():
    image = (80 + smooth(32, 32) // 4)
    options = dict(brightness=0.3, contrast=0.3, saturation=0.3)
    fast = TRANSFORMS.build(dict(type='mmvitlin.MatrixColorJitter', **options))
    reference = ColorJitter(**options)
    for seed in range(12):
        results = []
        for step in (fast, reference):
            np.random.seed(seed)
            results.append(step(dict(img=image.copy()))['img'].astype(int))
        assert np.abs(results[0] - results[1]).max() <= 4  # Pillow cuts off after every step
        assert np.abs(results[0] - results[1]).mean() < 2
    # by hand: half as bright, then twice the contrast about the mean of a grey image of 100
    matrix = color_matrix([0, 1], [0.5, 2., None], np.full(3, 100.))
    assert np.allclose(matrix, np.hstack([np.eye(3), np.full((3, 1), -50.)]))
    with pytest.raises(ConfigError, match='contrast=1.5 gives factors from -0.5'):
        TRANSFORMS.build(dict(type='mmvitlin.MatrixColorJitter', contrast=1.5))


def _jpeg(mode='RGB', **options):
    file = io.BytesIO()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 50, 3), np.uint8))
    picture.convert(mode).save(file, 'JPEG', **options)
    return file.getvalue()


def test_headers_of_plain_jpegs_are_pillows():
    """Of other files, and of anything damaged, Pillow is asked."""
    rotated = Image.Exif()
    rotated[0x0112] = 6
    plain = [_jpeg(), _jpeg('L'), _jpeg(progressive=True), _jpeg(comment=b'a' * 300),
             _jpeg(icc_profile=b'x' * 200, dpi=(72, 72)), _jpeg(restart_marker_blocks=2)]
    for content in plain:
        with Image.open(io.BytesIO(content)) as opened:
            assert plain_jpeg(content) == (read_header(content, opened, False), opened.size[::-1])
    others = [_jpeg('CMYK'), _jpeg(exif=rotated), plain[0][:10], plain[0][:2] + plain[0][3:], b'',
              plain[0].replace(b'JFIF\0', b'MPF\0\0', 1)]
    assert [plain_jpeg(content) for content in others] == [None] * len(others)
    rng = np.random.default_rng(1)
    for _ in range(300):  # damaged ones: no header, or one that a decoder may refuse
        content = bytearray(plain[0])
        content[rng.integers(2, 300)] = rng.integers(256)
        plain_jpeg(bytes(content[:rng.integers(4, len(content))]))
