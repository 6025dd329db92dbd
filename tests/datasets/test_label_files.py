"""Label files that mean something else than their numbers, or lie otherwise than their image."""
import struct
import zlib

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image

from mmvitlin.utils.errors import ConfigError, UnreadableFileError
from tests.datasets.test_image_files import NOISE, with_orientation

CLASSES = np.random.default_rng(1).integers(0, 5, (6, 9), np.uint8)


def load(path, num_classes=5, results=None, **kwargs):
    step = TRANSFORMS.build(dict(type='mmvitlin.LoadSegLabels', num_classes=num_classes, **kwargs))
    results = dict(results or {}, seg_map_path=str(path), seg_fields=[], label_map=None,
                   reduce_zero_label=bool(kwargs.get('reduce_zero_label')))
    results.setdefault('img_path', 'image.png')
    return step(results)['gt_seg_map']


def both(image, label, image_step=None, **kwargs):
    step = TRANSFORMS.build(dict(type='mmvitlin.LoadImage', **(image_step or {})))
    return load(label, results=step(dict(img_path=str(image))), **kwargs)


def save(path, labels):
    Image.fromarray(np.asarray(labels, np.uint8)).save(path)
    return path


def small_png(path, bits, rows):
    """A grey PNG of 1, 2 or 4 bits."""
    def chunk(kind, content):
        return struct.pack('>I', len(content)) + kind + content + struct.pack(
            '>I', zlib.crc32(kind + content))

    rows = np.asarray(rows)
    flags = (rows[..., None] >> np.arange(bits)[::-1] & 1).reshape(len(rows), -1).astype(np.uint8)
    raw = b''.join(b'\0' + np.packbits(row).tobytes() for row in flags)
    head = struct.pack('>IIBBBBB', rows.shape[1], rows.shape[0], bits, 0, 0, 0, 0)
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head)
                     + chunk(b'IDAT', zlib.compress(raw)) + chunk(b'IEND', b''))
    return path


@pytest.mark.parametrize(('bits', 'most'), [(1, 1), (2, 3), (4, 15)])
def test_labels_of_few_bits_are_what_was_stored(bits, most, tmp_path):
    """Pillow and OpenCV scale them to 255, which is ignored."""
    labels = np.arange(48).reshape(6, 8) % (most + 1)
    actual = load(small_png(tmp_path / 'l.png', bits, labels), num_classes=most + 1)
    assert (actual == labels).all()


def test_a_palette_is_not_applied(tmp_path):
    drawn = Image.fromarray(CLASSES, 'P')
    drawn.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128])
    drawn.save(tmp_path / 'l.png')
    assert (load(tmp_path / 'l.png') == CLASSES).all()


@pytest.mark.parametrize(('values', 'num_classes', 'advice'), [
    ([7, 8, 11, 23, 26], 19, "Cityscapes' label ids.*csCreateTrainIdLabelImgs.*'cityscapes_ids'"),
    ([4, 33, 24], 19, "Cityscapes' label ids"),
    ([0, 7, 150], 150, 'ADE20K count from 1.*reduce_zero_label=True'),
    ([1, 59], 59, 'Pascal Context count from 1'),
    ([0, 3, 11], 11, r'In CamVid 11 is void.*void_labels=\[11\]'),
    ([0, 20], 20, 'Pascal VOC and others 0 is the background'),
    ([0, 8], 8, r'count from 1, set reduce_zero_label=True.*void_labels=\[8\]'),
    ([3, 175, 181], 171, "COCO-Stuff's ids"),
    ([0, 85, 170], 3, 'are spread.*label_map={0: 0, 85: 1, 170: 2}'),
    ([0, 128], 2, 'are spread.*label_map={0: 0, 128: 1}'),
    ([0, 40, 41], 5, 'Set num_classes, give label_map'),
])
def test_labels_of_another_encoding(values, num_classes, advice, tmp_path):
    save(tmp_path / 'l.png', np.resize(values, (6, 9)))
    with pytest.raises(UnreadableFileError, match=rf'l.png holds the labels.*{advice}'):
        load(tmp_path / 'l.png', num_classes)


@pytest.mark.parametrize(('label_map', 'values', 'expected'), [
    ({255: 1}, [0, 255], [0, 1]),
    ({0: 'ignore', 128: 0, 255: 1}, [0, 128, 255], [255, 0, 1]),
    ({'0': 1, '200': None}, [0, 200, 4], [1, 255, 4]),
    ({0: 1, 1: 0}, [0, 1, 255], [1, 0, 255]),
    ('cityscapes_ids', [0, 7, 11, 33, 29], [255, 0, 2, 18, 255]),
])
def test_a_map_of_values(label_map, values, expected, tmp_path):
    save(tmp_path / 'l.png', [values] * 3)
    assert load(tmp_path / 'l.png', 19, label_map=label_map)[1].tolist() == expected


def test_a_map_of_values_of_16_bits(tmp_path):
    Image.fromarray(np.array([[0, 1000, 65535]] * 3, np.uint16)).save(tmp_path / 'l.png')
    assert load(tmp_path / 'l.png', label_map={1000: 3, 65535: 'ignore'})[0].tolist() == [0, 3, 255]


def test_maps_that_cannot_be(tmp_path):
    save(tmp_path / 'l.png', CLASSES)
    for label_map, words in (('camvid', 'one of .*cityscapes_ids'), ({'road': 1}, 'must be a dict'),
                             ([1, 2], 'must be a dict'), ({0: 1.5}, 'must be a dict')):
        with pytest.raises(ConfigError, match=f'label_map.*{words}'):
            load(tmp_path / 'l.png', label_map=label_map)
    with pytest.raises(ConfigError, match='label_map and reduce_zero_label'):
        load(tmp_path / 'l.png', label_map={0: 1}, reduce_zero_label=True)
    with pytest.raises(UnreadableFileError, match='labels'):
        load(tmp_path / 'l.png', label_map={0: 7})


def test_labels_drawn_in_colours(tmp_path):
    colours = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0), (9, 9, 9), (224, 224, 192)], np.uint8)
    for mode in ('RGB', 'RGBA'):
        Image.fromarray(colours[CLASSES]).convert(mode).save(tmp_path / 'l.png')
        with pytest.raises(UnreadableFileError, match=r'l.png shows classes as 5 colours \(.*'
                           'label_map={.RED, GREEN, BLUE'):
            load(tmp_path / 'l.png')
        table = {tuple(c.tolist()): n for n, c in enumerate(colours)}
        assert (load(tmp_path / 'l.png', label_map=table) == CLASSES).all()
        table[9, 9, 9] = 'ignore'
        assert (load(tmp_path / 'l.png', label_map=table)[CLASSES == 3] == 255).all()
        del table[128, 0, 0]
        with pytest.raises(UnreadableFileError, match=r'has the colours \[\(128, 0, 0\)\]'):
            load(tmp_path / 'l.png', label_map=table)
    save(tmp_path / 'three.png', np.dstack([CLASSES] * 3))
    with pytest.raises(UnreadableFileError, match='three equal channels'):
        load(tmp_path / 'three.png')


@pytest.mark.parametrize('name', ['l.jpg', 'l.webp'])
def test_labels_compressed_as_photographs(name, tmp_path):
    save(tmp_path / name, CLASSES)
    with pytest.raises(UnreadableFileError, match=f'{name} is compressed as photographs are'):
        load(tmp_path / name)


def test_labels_of_floats(tmp_path):
    Image.fromarray(CLASSES.astype(np.float32)).save(tmp_path / 'l.tif')
    with pytest.raises(UnreadableFileError, match='l.tif holds floats'):
        load(tmp_path / 'l.tif')


def test_a_photo_on_its_side_whose_labels_are_for_the_stored_pixels(tmp_path):
    image = with_orientation(tmp_path / 'x.jpg', NOISE, 8)
    label = save(tmp_path / 'l.png', CLASSES)
    with pytest.raises(UnreadableFileError, match=r'l.png is 6x9, its image .*x.jpg is 9x6; .*EXIF '
                       r'orientation 8 \(turned by 90 degrees anticlockwise\): if its labels are '
                       'for the pixels as they are stored, .*color_ignore_orientation'):
        both(image, label)
    stored = dict(color_type='color_ignore_orientation')
    assert (both(image, label, stored) == CLASSES).all()
    with pytest.raises(UnreadableFileError, match='color_ignore_orientation.* leaves out'):
        both(image, save(tmp_path / 'l.png', np.rot90(CLASSES)), stored)


@pytest.mark.parametrize('name', ['l.png', 'l.tif'])
def test_a_label_file_with_an_orientation_of_its_own(name, tmp_path):
    image = with_orientation(tmp_path / 'x.jpg', NOISE, 3)
    label = with_orientation(tmp_path / name, CLASSES, 3)
    assert (both(image, label) == CLASSES[::-1, ::-1]).all()
    assert (both(image, label, dict(color_type='color_ignore_orientation')) == CLASSES).all()


@pytest.mark.parametrize(('orientation', 'shape'), [(3, (6, 9)), (2, (6, 9)), (6, (9, 9))])
def test_a_turn_that_the_size_does_not_show_is_reported(orientation, shape, tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr('mmvitlin.datasets.transforms.loading.print_log',
                        lambda m, **_: messages.append(m))
    labels = np.resize(CLASSES, shape)
    image = with_orientation(tmp_path / 'x.jpg', np.resize(NOISE, (*shape, 3)), orientation)
    label = save(tmp_path / 'l.png', labels)
    assert (both(image, label) == labels).all()
    message, = messages
    assert f'x.jpg has EXIF orientation {orientation}' in message
    assert 'color_ignore_orientation' in message
    both(image, label, dict(color_type='color_ignore_orientation'))
    assert len(messages) == 1


def test_palettes_and_grey_under_a_map_of_colours(tmp_path):
    colours = np.zeros((2, 4, 3), np.uint8)
    colours[0, :2], colours[1, :2] = (128, 0, 0), (0, 128, 0)
    Image.fromarray(colours).save(tmp_path / 'rgb.png')
    Image.fromarray(colours).quantize(8).save(tmp_path / 'palette.png')
    label_map = {(0, 0, 0): 'ignore', (128, 0, 0): 2, (0, 128, 0): 0}
    expected = [[2, 2, 255, 255], [0, 0, 255, 255]]
    for name in ('rgb.png', 'palette.png'):
        assert load(tmp_path / name, 3, label_map=label_map).tolist() == expected
    label_map = {(0, 0, 0): 0, (255, 255, 255): 1}
    Image.fromarray(np.uint8([[0, 255]])).save(tmp_path / 'grey.png')
    Image.fromarray(np.uint8([[0, 255]])).convert('1').save(tmp_path / 'bits.png')
    for name in ('grey.png', 'bits.png'):
        assert load(tmp_path / name, 2, label_map=label_map).tolist() == [[0, 1]]
    Image.fromarray(np.uint16([[0, 300]])).save(tmp_path / 'wide.png')
    with pytest.raises(UnreadableFileError, match='wide.png.*holds numbers without colours'):
        load(tmp_path / 'wide.png', 2, label_map=label_map)


@pytest.mark.parametrize('options', [dict(num_classes=300), dict(ignore_index=65535),
                                     dict(ignore_index=-100)])
def test_labels_that_8_bits_do_not_hold(options):
    with pytest.raises(ConfigError, match='at most 255 classes, and an ignore_index of 0 to 255'):
        load('x.png', **options)
