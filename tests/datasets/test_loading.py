"""Reading of images and labels: what is refused, and with which words."""
import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, TRANSFORMS
from PIL import Image

from mmvitlin.datasets.transforms.decoding import any_size
from mmvitlin.utils.errors import ConfigError, UnreadableFileError


@pytest.fixture
def load():
    return TRANSFORMS.build(dict(type='mmvitlin.LoadImage'))


def load_labels(path, **kwargs):
    transform = TRANSFORMS.build(dict(type='mmvitlin.LoadSegLabels', num_classes=5, **kwargs))
    results = dict(seg_map_path=str(path), seg_fields=[], reduce_zero_label=False, label_map=None,
                   ori_shape=(4, 6), img_path='image.png')
    return transform(results)['gt_seg_map']


@pytest.mark.parametrize('name', ['x.jpg', 'x.png'])
def test_a_whole_image_and_a_truncated_one(tmp_path, load, name):
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    path = tmp_path / name
    cv2.imwrite(str(path), picture)
    image = load(dict(img_path=str(path)))['img']
    assert image.shape == (40, 60, 3)
    if name.endswith('png'):
        assert (image == picture).all()  # BGR, as OpenCV writes it
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(UnreadableFileError, match=rf'{name} cannot be decoded.*truncated'):
        load(dict(img_path=str(path)))


def test_images_kept_in_memory_are_read_once_and_not_modified(tmp_path):
    image, label = tmp_path / 'x.png', tmp_path / 'y.png'
    picture = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    classes = np.random.default_rng(0).integers(0, 5, (4, 6), np.uint8)
    cv2.imwrite(str(image), picture)
    cv2.imwrite(str(label), classes)
    steps = [TRANSFORMS.build(dict(type='mmvitlin.LoadImage', keep_in_memory=True)),
             TRANSFORMS.build(dict(type='mmvitlin.LoadSegLabels', num_classes=5,
                                   keep_in_memory=True))]

    def read():
        results = dict(img_path=str(image), seg_map_path=str(label), seg_fields=[],
                       reduce_zero_label=False, label_map=None)
        for step in steps:
            results = step(results)
        assert results['seg_fields'] == ['gt_seg_map']
        return results['img'], results['gt_seg_map']

    for array in read():
        array[:] = 0
    image.unlink()
    label.unlink()
    for actual, expected in zip(read(), (picture, classes), strict=True):
        assert (actual == expected).all()
    with pytest.raises(FileNotFoundError):
        TRANSFORMS.build(dict(type='mmvitlin.LoadImage'))(dict(img_path=str(image)))


def test_altered_bytes_are_noticed(tmp_path, load):
    """Decoders go on to other pixels; the checksums of PNG say so."""
    path = tmp_path / 'x.png'
    for picture, read in (
            (np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8),
             lambda: load(dict(img_path=str(path)))),
            (np.random.default_rng(0).integers(0, 5, (4, 6), np.uint8),
             lambda: load_labels(path))):
        cv2.imwrite(str(path), picture)
        read()
        content = bytearray(path.read_bytes())
        content[content.index(b'IDAT') + 12] ^= 4
        path.write_bytes(content)
        with pytest.raises(UnreadableFileError, match='x.png cannot be decoded'):
            read()


def test_not_an_image_and_no_file(tmp_path, load):
    (tmp_path / 'x.jpg').write_text('hello')
    with pytest.raises(UnreadableFileError, match='x.jpg cannot be decoded'):
        load(dict(img_path=str(tmp_path / 'x.jpg')))
    with pytest.raises(FileNotFoundError):
        load(dict(img_path=str(tmp_path / 'y.jpg')))


def test_grey_images_of_more_than_16_bits(tmp_path, load):
    for name, pixels in (('a.tif', np.full((4, 6), 0.5, np.float32)),
                         ('b.tif', np.full((4, 6), 2**20, np.int32)),
                         ('c.tif', np.full((4, 6), 200, np.int32))):
        Image.fromarray(pixels).save(tmp_path / name)
        with pytest.raises(UnreadableFileError, match=f'{name} holds 32-bit.*convert it to 8 or'):
            load(dict(img_path=str(tmp_path / name)))
    for name in ('d.png', 'd.tif', 'd.pgm'):
        assert cv2.imwrite(str(tmp_path / name), np.full((4, 6), 200 * 256 + 9, np.uint16))
        assert (load(dict(img_path=str(tmp_path / name)))['img'] == 200).all()


def test_labels(tmp_path):
    labels = np.array([[0, 1, 2, 3, 4, 255]] * 4, np.uint8)
    cv2.imwrite(str(tmp_path / 'l.png'), labels)
    assert (load_labels(tmp_path / 'l.png') == labels).all()
    labels[0, 0] = 7
    cv2.imwrite(str(tmp_path / 'l.png'), labels)
    with pytest.raises(UnreadableFileError, match=r'l.png holds the labels \[7\].*has 5 classes'):
        load_labels(tmp_path / 'l.png')
    assert load_labels(tmp_path / 'l.png', void_labels=[7])[0, 0] == 255


def test_labels_of_16_bits_are_not_wrapped(tmp_path):
    labels = np.array([[0, 1, 2, 3, 4, 258]] * 4, np.uint16)
    cv2.imwrite(str(tmp_path / 'l.png'), labels)
    with pytest.raises(UnreadableFileError, match=r'labels \[258\]'):
        load_labels(tmp_path / 'l.png')
    assert load_labels(tmp_path / 'l.png', void_labels=[258])[0].tolist() == [0, 1, 2, 3, 4, 255]


def test_void_labels_are_those_of_the_file(tmp_path):
    cv2.imwrite(str(tmp_path / 'l.png'), np.array([[0, 1, 2, 3, 4, 5]] * 4, np.uint8))
    transform = TRANSFORMS.build(dict(type='mmvitlin.LoadSegLabels', num_classes=5,
                                      reduce_zero_label=True, void_labels=[3]))
    results = dict(seg_map_path=str(tmp_path / 'l.png'), seg_fields=[], reduce_zero_label=True,
                   label_map=None)
    assert transform(results)['gt_seg_map'][0].tolist() == [255, 0, 1, 255, 3, 4]
    results.update(reduce_zero_label=False)
    with pytest.raises(ConfigError, match='disagree'):
        transform(results)


def test_grey_images_of_16_bits_are_scaled(tmp_path, load):
    ramp = np.tile(np.linspace(0, 65535, 16).astype(np.uint16), (4, 1))
    cv2.imwrite(str(tmp_path / 'x.png'), ramp)
    image = load(dict(img_path=str(tmp_path / 'x.png')))['img']
    assert image.shape == (4, 16, 3)
    assert (image[..., 0] == ramp >> 8).all()


def test_label_images_of_another_size_or_kind(tmp_path):
    cv2.imwrite(str(tmp_path / 'l.png'), np.zeros((8, 6), np.uint8))
    with pytest.raises(UnreadableFileError, match='l.png is 8x6, its image image.png is 4x6'):
        load_labels(tmp_path / 'l.png')
    cv2.imwrite(str(tmp_path / 'c.png'), np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(UnreadableFileError, match='one channel'):
        load_labels(tmp_path / 'c.png')
    (tmp_path / 'b.png').write_text('broken')
    with pytest.raises(UnreadableFileError, match='b.png cannot be decoded'):
        load_labels(tmp_path / 'b.png')


def test_camvid_split_and_void(camvid):
    sizes = {}
    for split in ('train', 'val', 'test'):
        data = DATASETS.build(dict(
            type='mmvitlin.CamVidDataset', data_root=str(camvid),
            data_prefix=dict(img_path=f'images/{split}', seg_map_path=f'labels/{split}'),
            pipeline=[dict(type='mmvitlin.LoadImage'),
                      dict(type='mmvitlin.LoadSegLabels', num_classes=11, void_labels=[11])]))
        sizes[split] = len(data)
        sample = data[0]
        assert sample['img'].shape == (360, 480, 3)
        assert set(np.unique(sample['gt_seg_map'])) <= {*range(11), 255}
    assert sizes == dict(train=367, val=101, test=233)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_camvid_images_of_either_kind(suffix, tmp_path):
    for folder, name in (('images', f'a{suffix}'), ('labels', 'a.png')):
        (tmp_path / folder / 'train').mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / 'train' / name), np.zeros((4, 6, 3), np.uint8))
    cfg = dict(type='mmvitlin.CamVidDataset', data_root=str(tmp_path), pipeline=[],
               data_prefix=dict(img_path='images/train', seg_map_path='labels/train'))
    (info, ) = DATASETS.build(cfg).load_data_list()
    assert info['img_path'].endswith(f'images/train/a{suffix}')
    cv2.imwrite(str(tmp_path / 'images/train/b.jpeg'), np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(ConfigError, match='end with .* and .*give the data set img_suffix'):
        DATASETS.build(cfg).load_data_list()


def test_a_label_that_claims_to_be_huge_is_not_decoded(tmp_path):
    from tests.fuzzing import _claims_to_be_huge
    path = tmp_path / 'label.png'
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(path)
    path.write_bytes(_claims_to_be_huge(path.read_bytes()))
    with pytest.raises(UnreadableFileError, match='label.png is 60000x60000, its image image.png'):
        load_labels(path)


def test_the_limit_of_pixels_comes_back_after_the_last_thread():
    usual = Image.MAX_IMAGE_PIXELS
    first, second = any_size(), any_size()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS is None
    second.__exit__(None, None, None)
    assert usual == Image.MAX_IMAGE_PIXELS
