"""Images as a deployed network reads them, the pixels that training reads; and what it refuses."""
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from mmvitlin.datasets.transforms.loading import LoadImage
from mmvitlin.deploy import ExportedModel, open_file
from mmvitlin.deploy.__main__ import list_images, output_names
from mmvitlin.deploy.model import read
from mmvitlin.deploy.runtimes import Runtime
from mmvitlin.utils.errors import ConfigError, UnreadableFileError
from mmvitlin.utils.outputs import claim

RANDOM = np.random.default_rng(0)


def in_training(path, **options):
    return LoadImage(**options)(dict(img_path=str(path)))['img'][..., ::-1]


def drawn(kind):
    if kind == 'grey16':
        return RANDOM.integers(0, 65536, (20, 30)).astype(np.uint16)
    return RANDOM.integers(0, 256, (20, 30) if kind == 'grey' else (20, 30, 3), np.uint8)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize(('suffix', 'kind'), [
    ('png', 'rgb'), ('png', 'grey16'), ('jpg', 'grey'), ('tiff', 'rgb'), ('tiff', 'grey'),
    ('tiff', 'grey16')])
def test_turned_images(tmp_path, suffix, kind, orientation):
    path, exif = tmp_path / f'a.{suffix}', Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(drawn(kind)).save(path, exif=exif)
    for turn, colours in ((True, 'color'), (False, 'color_ignore_orientation')):
        assert np.array_equal(read(path, turn=turn), in_training(path, color_type=colours))
    with Image.open(path) as opened:
        upright = read(opened) if suffix != 'tiff' else read(path)  # Pillow's mapping, see there
    assert np.array_equal(upright, in_training(path))


def palette(image):
    return image.quantize(16)


def with_alpha(image):
    image.putalpha(100)
    return image


@pytest.mark.parametrize(('suffix', 'change'), [
    ('png', palette), ('gif', palette), ('png', with_alpha), ('jpg', lambda i: i.convert('CMYK')),
    ('png', lambda i: i.convert('1'))])
def test_other_kinds_of_eight_bits(tmp_path, suffix, change):
    path = tmp_path / f'a.{suffix}'
    change(Image.fromarray(drawn('rgb'))).save(path)
    assert np.array_equal(read(path), in_training(path))


@pytest.mark.parametrize('white', [4095, 65535, None])
@pytest.mark.parametrize('form', ['png', 'pgm of 12 bits', 'pgm of 16 bits'])
def test_grey_of_twelve_bits(tmp_path, form, white):
    pixels = RANDOM.integers(0, 4096, (20, 30)).astype(np.uint16)
    path = tmp_path / f'a.{form[:3]}'
    if form == 'png':
        Image.fromarray(pixels).save(path)
    else:
        largest = 4095 if '12' in form else 65535
        path.write_bytes(f'P5\n30 20\n{largest}\n'.encode() + pixels.astype('>u2').tobytes())
    if white is None and '12' not in form:  # looks as from a camera of fewer bits
        for reading in (read, in_training):
            with pytest.raises(UnreadableFileError, match='16 bits'):
                reading(path)
    else:
        assert np.array_equal(read(path, white), in_training(path, max_value=white))


def test_colours_of_sixteen_bits(tmp_path):
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), RANDOM.integers(0, 65536, (20, 30, 3)).astype(np.uint16))
    assert np.array_equal(read(path), in_training(path))
    transparent = RANDOM.integers(0, 65536, (20, 30, 4)).astype(np.uint16)
    transparent[..., 3] = 65535  # which is no colour
    transparent[..., :3] //= 2
    cv2.imwrite(str(tmp_path / 'b.png'), transparent)
    assert np.array_equal(read(tmp_path / 'b.png'), in_training(tmp_path / 'b.png'))
    transparent[..., :3] //= 4
    cv2.imwrite(str(tmp_path / 'b.png'), transparent)
    for reading in (read, in_training):
        with pytest.raises(UnreadableFileError, match='16 bits'):
            reading(tmp_path / 'b.png')
    with pytest.raises(UnreadableFileError, match='only the upper 8 can be read.*4095 is white'):
        read(path, 4095)


class Constant(Runtime):
    """Gives the same class everywhere."""
    name, needs = 'constant', 'numpy'

    def __init__(self, size, **meta):
        self.size, self.path = size, 'constant'
        self.meta = dict(task='segmentation', classes=['a', 'b'], palette=[[0] * 3] * 2,
                         patch_size=8, align_corners=False, threshold=None, mean=[0.] * 3,
                         stride=None, **meta)

    def load(self):
        """It is loaded."""

    def run(self, images):
        height, width = (-(-n // 8) for n in images.shape[2:])
        scores = np.zeros((1, 2, height, width), np.float32)
        scores[:, 1] = 1
        return dict(scores=scores, labels=np.ones((1, *images.shape[2:]), np.uint8))


@pytest.mark.parametrize('resize', [
    dict(scale=[64, 32], keep_ratio=True), dict(short_edge=16), dict(factor=0.1)])
def test_very_thin_images(resize):
    labels = ExportedModel(Constant(None, resize=resize))(np.zeros((1, 700, 3), np.uint8)).labels
    assert labels.shape == (1, 700)
    assert labels.all()


def test_images_below_the_size_of_a_file_are_warned_of_once():
    model = ExportedModel(Constant((32, 48)))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        for shape in ((64, 48), (20, 60), (31, 48)):
            assert model(np.zeros((*shape, 3), np.uint8)).labels.shape == shape
    message, = (str(one.message) for one in seen)
    assert message.startswith('an image of 20x60 pixels is filled up to the 32x48 of this file')


@pytest.mark.parametrize('turn', [True, False])
def test_images_are_turned_as_the_description_says(tmp_path, turn):
    path, exif = tmp_path / 'a.png', Image.Exif()
    exif[0x112] = 6
    Image.fromarray(drawn('rgb')).save(path, exif=exif)
    shape = ExportedModel(Constant(None, turn=turn))(path).labels.shape
    assert shape == ((30, 20) if turn else (20, 30))


def test_folders_are_searched_to_their_depth(tmp_path):
    for name in ('b.png', 'deep/er/a.JPG', '._b.png', '.ipynb_checkpoints/b.png', 'notes.txt'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'')
    files = list_images([tmp_path])
    assert files == [tmp_path / 'b.png', tmp_path / 'deep/er/a.JPG']
    assert output_names(files) == ['b', 'a']
    (tmp_path / 'none' / 'at').mkdir(parents=True)
    with pytest.raises(UnreadableFileError, match='no images in'):
        list_images([tmp_path / 'none'])
    with pytest.raises(ConfigError, match='lies inside .*, which is read'):
        claim(tmp_path / 'found', ['labels'], [tmp_path])


def test_threads_and_folders_that_cannot_be(tmp_path):
    with pytest.raises(ConfigError, match='threads must be at least 1, got -1'):
        open_file(tmp_path / 'a.onnx', threads=-1)
    (tmp_path / 'a').write_text('')
    with pytest.raises(ConfigError, match='--out-dir: .*a/found cannot be a folder'):
        claim(tmp_path / 'a' / 'found', ['labels'])
