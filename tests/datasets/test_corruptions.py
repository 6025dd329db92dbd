"""Images that are shifted on purpose, and the scores under each shift."""
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from mmvitlin.datasets.transforms.corruptions import CentreShare, Corrupt, corruption_names
from mmvitlin.datasets.transforms.loading import LoadImage
from mmvitlin.utils.errors import ConfigError, UnreadableFileError


def test_the_middle_of_image_and_labels():
    image = np.arange(8 * 12 * 3).reshape(8, 12, 3)
    labels = np.arange(16 * 24).reshape(16, 24)
    actual = CentreShare(0.5)(dict(img=image, gt_seg_map=labels, seg_fields=['gt_seg_map']))
    np.testing.assert_array_equal(actual['img'], image[2:6, 3:9])
    np.testing.assert_array_equal(actual['gt_seg_map'], labels[4:12, 6:18])
    assert actual['img_shape'] == (4, 6)
    assert actual['ori_shape'] == (8, 12)
    with pytest.raises(ConfigError, match='share must be'):
        CentreShare(0)


def test_corruptions_are_the_same_for_every_network():
    pytest.importorskip('imagecorruptions', reason="needs 'mmvitlin[robustness]'")
    image = np.random.RandomState(0).randint(0, 255, (20, 40, 3)).astype(np.uint8)

    def draw(severity, name='a.png', kind='gaussian_noise'):
        return Corrupt(kind, severity)(dict(img=image.copy(), img_path=f'x/{name}'))['img']

    assert np.array_equal(draw(2), draw(2))
    assert not np.array_equal(draw(2), draw(2, 'b.png'))
    gaps = [np.abs(draw(n).astype(int) - image).mean() for n in (1, 3, 5)]
    assert gaps == sorted(gaps)
    assert draw(1).shape == image.shape
    for kind, severity in (('rain', 1), ('fog', 6)):
        with pytest.raises(ConfigError):
            Corrupt(kind, severity)


def test_every_corruption_follows_from_the_file():
    pytest.importorskip('imagecorruptions', reason="needs 'mmvitlin[robustness]'")
    image = np.random.RandomState(0).randint(0, 255, (64, 80, 3)).astype(np.uint8)
    drawn = {}
    for kind in corruption_names('all'):
        first, again, other = (
            Corrupt(kind, 3)(dict(img=image.copy(), img_path=name))['img']
            for name in ('a.png', 'a.png', 'b.png'))
        np.testing.assert_array_equal(first, again, err_msg=kind)
        drawn[kind] = not np.array_equal(first, other)
    assert len(drawn) == 19
    assert {kind for kind, differs in drawn.items() if not differs} == {  # nothing is drawn there
        'defocus_blur', 'gaussian_blur', 'zoom_blur', 'brightness', 'contrast', 'saturate',
        'pixelate', 'jpeg_compression'}


def test_unreadable_files_may_be_left_out(tmp_path, streets):
    (tmp_path / 'bad.png').write_bytes(b'no image')
    sample = dict(img_path=str(tmp_path / 'bad.png'))
    load = LoadImage(skip_unreadable=2)
    assert load(dict(sample)) is None
    assert load(dict(sample)) is None
    with pytest.raises(UnreadableFileError, match='bad.png'):
        load(dict(sample))


def test_training_continues_without_them(tmp_path, streets):
    import shutil

    from mmengine.registry import DATASETS

    from mmvitlin.datasets.samplers.seeding import SeededIndex
    root = tmp_path / 'streets'
    shutil.copytree(streets, root)
    bad = sorted((root / 'leftImg8bit' / 'train').rglob('*.png'))[0]
    bad.write_bytes(bad.read_bytes()[:300])
    cfg = Config.fromfile('configs/seg/fcn_adventurer-nano_streets.py')
    cfg.train_dataloader.dataset.data_root = str(root)
    cfg.train_dataloader.dataset.pipeline[0].skip_unreadable = 1
    init_default_scope('mmseg')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    seen = [dataset[SeededIndex(0, 5)]['inputs'] for _ in range(1)]
    assert torch.is_tensor(seen[0])


def test_a_small_file_with_an_absurd_image(tmp_path):
    Image.new('1', (30000, 30000)).save(tmp_path / 'bomb.png')  # 110 kB, 900 million pixels
    with pytest.raises(UnreadableFileError, match='bomb.png is 30000x30000 pixels, more than'):
        LoadImage()(dict(img_path=str(tmp_path / 'bomb.png')))
    assert LoadImage(max_pixels=None).max_pixels is None
