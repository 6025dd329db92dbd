"""Normalisation of images, by hand."""
import pytest
import torch
from mmengine.model import ImgDataPreprocessor

from mmvitlin.utils.normalisation import Normalisation

CLIP = Normalisation((122.77, 116.75, 104.09), (68.5, 66.63, 70.32), rgb=True)
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def test_images_go_over_to_another_normalisation():
    raw = torch.rand(2, 3, 4, 5) * 255
    mean, std = (torch.tensor(IMAGENET[k]).view(3, 1, 1) for k in ('mean', 'std'))
    clip_mean, clip_std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP.mean, CLIP.std))
    actual = Normalisation.of_config(IMAGENET).convert((raw - mean) / std, CLIP)
    torch.testing.assert_close(actual, (raw - clip_mean) / clip_std, atol=1e-5, rtol=1e-5)
    assert CLIP.convert(raw.double(), CLIP).dtype == torch.float64


@pytest.mark.parametrize('key', ['bgr_to_rgb', 'to_rgb'])
def test_config_module_and_file_say_the_same(key):
    of_config = Normalisation.of_config({**IMAGENET, key: True})
    module = Normalisation.of_preprocessor(ImgDataPreprocessor(**IMAGENET, bgr_to_rgb=True))
    of_file = Normalisation.of_meta(dict(normalisation=module.to_meta()))
    assert of_file == of_config
    assert module.differences(of_config) == []
    assert of_config.to_meta() == dict(IMAGENET, rgb=True)
    for nothing in (Normalisation.of_config({key: True}), Normalisation.of_meta({}),
                    Normalisation.of_preprocessor(ImgDataPreprocessor())):
        assert nothing is None


def test_what_differs():
    own = Normalisation.of_config(IMAGENET)
    assert own.rgb is False
    assert own.differences(CLIP) == ['mean', 'std', 'rgb']
    unknown = Normalisation((123.4, 116.4, 103.6), own.std)  # rounded, and of unknown order
    assert unknown.differences(own) == unknown.differences(
        Normalisation(own.mean, own.std, True)) == []
    assert unknown.to_meta() == dict(mean=[123.4, 116.4, 103.6], std=IMAGENET['std'])
