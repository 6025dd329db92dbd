"""What a config's test shows its network, and an exported file does too, or refuses."""
import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS, init_default_scope
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmvitlin.apis import SegInferencer
from mmvitlin.apis.data_sets import names_and_colours, pipelines
from mmvitlin.apis.export import load_trained
from mmvitlin.apis.quantize import TorchRuntime
from mmvitlin.apis.shown_by_tests import (
    grey_of,
    multiple,
    normalisation,
    resizing,
    steps_of_test,
)
from mmvitlin.compat.kinds import is_kind
from mmvitlin.datasets.checks.checking import READING_STEPS
from mmvitlin.deploy import ExportedModel
from mmvitlin.engine.runner.config import load_config
from mmvitlin.utils.errors import ConfigError

PIPELINE, NORM = 'test_dataloader.dataset.pipeline', 'model.data_preprocessor'
READ, LABELS, PACK = (dict(type='mmvitlin.LoadImage'),
                      dict(type='mmvitlin.LoadSegLabels', num_classes=19),
                      dict(type='PackSegInputs'))
MEAN, STD = [120., 110., 100.], [60., 55., 50.]


def resized(**options):
    return {PIPELINE: [READ, dict(type='Resize', **options), LABELS, PACK]}


@pytest.mark.parametrize('options', [
    {}, resized(scale=(150, 90), keep_ratio=False), resized(scale_factor=(1.5, 0.75)),
    resized(scale_factor=0.8), {f'{NORM}.test_cfg': dict(size_divisor=48)},
    {PIPELINE: [dict(READ, color_type='color_ignore_orientation'), LABELS, PACK]},
    {f'{NORM}.mean': None, f'{NORM}.std': None, f'{NORM}.bgr_to_rgb': False, PIPELINE: [
        READ, LABELS, dict(type='Normalize', mean=MEAN, std=STD, to_rgb=True), PACK]},
    {f'{NORM}.mean': None, f'{NORM}.std': None, PIPELINE: [
        READ, LABELS, dict(type='Normalize', mean=MEAN[::-1], std=STD[::-1], to_rgb=False), PACK]},
], ids=['as it is', 'scale', 'two factors', 'factor', 'divisor', 'not turned', 'step', 'reversed'])
def test_a_file_and_the_config_give_the_same_labels(segmentor, tmp_path, options):
    exif, path = Image.Exif(), tmp_path / 'a.png'
    exif[0x112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (70, 110, 3), np.uint8)
    Image.fromarray(pixels).resize((110, 70), Image.BICUBIC).save(path, exif=exif)
    expected = SegInferencer(*segmentor, cfg_options=options)(path)[0].labels
    file = ExportedModel(TorchRuntime(load_trained(*segmentor, options), (64, 64), True))
    actual = file(path).labels
    assert actual.shape == expected.shape
    assert np.mean(actual == expected) > 0.98
    assert len(np.unique(actual)) > 1


def test_images_that_the_test_reads_as_grey(segmentor, tmp_path):
    grey = {PIPELINE: [dict(READ, color_type='grayscale'), LABELS, PACK]}
    pixels = np.random.default_rng(0).integers(0, 256, (70, 110, 3), np.uint8)
    pixels = np.asarray(Image.fromarray(pixels).resize((110, 70), Image.BICUBIC))
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    infer = SegInferencer(*segmentor, cfg_options=grey)
    results = infer([tmp_path / 'a.png', pixels, Image.fromarray(pixels)])
    assert [result.error for result in results] == [None] * 3
    expected = results[0]
    shown = np.asarray(Image.fromarray(pixels).convert('L'))
    assert (expected.image == shown[..., None]).all()
    for result in results[1:]:
        assert (result.labels == expected.labels).all()
        assert (result.image == expected.image).all()
    deployed = load_trained(*segmentor, grey)
    actual = ExportedModel(TorchRuntime(deployed, (64, 64), True))(tmp_path / 'a.png').labels
    in_colours, = SegInferencer(*segmentor)(pixels)
    assert np.mean(in_colours.labels == expected.labels) < 0.9
    assert np.mean(actual == expected.labels) > 0.98
    assert len(np.unique(actual)) > 1


def test_grey_as_pillow_makes_it():
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    values[0, :3] = [[255] * 3, [0] * 3, [128] * 3]
    images = torch.from_numpy(values).permute(2, 0, 1)[None].float()
    assert (grey_of(images)[0, 0].numpy() == np.asarray(Image.fromarray(values).convert('L'))).all()


def test_windows_of_an_image_that_is_padded_first(segmentor, tmp_path):
    """The test pads the image to its divisor, a window is padded to whole patches."""
    path, windows = tmp_path / 'a.png', dict(mode='slide', crop_size=(64, 96), stride=(40, 56))
    pixels = np.random.default_rng(0).integers(0, 256, (100, 130, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    options = {'model.test_cfg': windows, f'{NORM}.test_cfg': dict(size_divisor=48)}
    expected = SegInferencer(*segmentor, cfg_options=options)(path)[0].labels
    deployed = load_trained(*segmentor, options)
    assert (deployed.pads_to, deployed.multiple) == (deployed.patch, 48)
    actual = ExportedModel(TorchRuntime(deployed, (64, 96), False))(path).labels
    assert np.mean(actual == expected) > 0.98


@pytest.mark.parametrize('step', [
    dict(type='CLAHE'), dict(type='RGB2Gray'), dict(type='ResizeToMultiple', size_divisor=32),
    dict(type='ResizeShortestEdge', scale=64, max_size=128), dict(type='MyStep', strength=3),
    dict(type='TestTimeAug', transforms=[]), dict(type='CenterCrop', crop_size=64),
    dict(type='NormalizeIllumination'), dict(type='LoadAndCropBorders', border=20),
    dict(type='mmvitlin.LoadCrop', size=64), dict(type='Pad', size=(64, 64)),
    dict(type='mmpretrain.ResizeEdge', scale=64, edge='long')])
def test_a_step_that_would_be_left_out_is_named(step):
    kind = step['type'].split('.')[-1]
    with pytest.raises(ConfigError, match=f"test pipeline's {kind}.* would be left out"):
        resizing([READ, step, PACK], crops=False)


def test_settings_that_a_file_does_not_have():
    twice = [READ, dict(type='Resize', scale=(64, 64)), dict(type='Resize', scale_factor=2.)]
    with pytest.raises(ConfigError, match='resizes twice'):
        resizing(twice, crops=False)
    cfg = load_config('configs/seg/fcn_adventurer-nano_streets.py')
    assert multiple(cfg, 16) == 16
    cfg.model.data_preprocessor.test_cfg = dict(size=(512, 512))
    with pytest.raises(ConfigError, match='does not pad images to a size'):
        multiple(cfg, 16)
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type='Normalize', mean=MEAN, std=STD))
    with pytest.raises(ConfigError, match="both the test pipeline's Normalize and .* normalise"):
        normalisation(cfg)
    one, other = dict(pipeline=[READ, PACK]), dict(pipeline=[READ, LABELS, PACK])
    assert steps_of_test(dict(datasets=[one, dict(dataset=one)])) == [READ, PACK]
    with pytest.raises(ConfigError, match='different pipelines'):
        steps_of_test(dict(datasets=[one, other]))


def test_joined_sets_have_the_classes_of_the_first():
    one = dict(type='CityscapesDataset')
    init_default_scope('mmseg')
    expected = names_and_colours(one, 19)
    for joined in (dict(type='ConcatDataset', datasets=[one, one]),
                   dict(type='RepeatDataset', times=2, dataset=one)):
        names, colours = names_and_colours(joined, 19)
        assert names == expected[0]
        assert (colours == expected[1]).all()


def test_label_readers_of_ones_own_are_label_readers():
    init_default_scope('mmseg')
    own = type('LoadMyLabels', (LoadAnnotations, ), {})
    TRANSFORMS.register_module(name='LoadMyLabels', module=own, force=True)
    step = dict(type='mmengine.LoadMyLabels')
    assert resizing([READ, step, PACK], crops=False) is None
    read, _ = pipelines([READ, step, PACK], None, [])
    assert [type(one).__name__ for one in read.transforms] == ['LoadImage']
    assert is_kind(step, READING_STEPS)
