"""Batches without waits for the device: the values of the libraries' own preprocessors."""
import copy

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

NORM = dict(mean=[123., 116., 103.], std=[58., 57., 56.5])


def images(*sizes):
    torch.manual_seed(0)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]


@pytest.mark.parametrize('divisor', [1, 4])
@pytest.mark.parametrize('sizes', [[(8, 16)] * 3, [(8, 16), (8, 12)], [(6, 10)] * 2])
def test_images_that_come_one_by_one(sizes, divisor):
    made = [MODELS.build(dict(type=kind, **NORM, bgr_to_rgb=True, pad_size_divisor=divisor))(
        dict(inputs=images(*sizes)))['inputs']
        for kind in ('mmengine.ImgDataPreprocessor', 'mmvitlin.ImagePreprocessor')]
    torch.testing.assert_close(*made)


@pytest.mark.parametrize('kind', ['Mixup', 'CutMix'])
@pytest.mark.parametrize('training', [True, False])
def test_classification_is_mmpretrain_s(kind, training):
    structures = pytest.importorskip('mmpretrain.structures')
    init_default_scope('mmpretrain')
    samples = [structures.DataSample().set_gt_label(n) for n in (0, 2, 1, 2)]
    data = dict(inputs=torch.stack(images(*[(8, 8)] * 4)), data_samples=samples)
    made = []
    for name in ('ClsDataPreprocessor', 'mmvitlin.ClsPreprocessor'):
        preprocessor = MODELS.build(dict(
            type=name, **NORM, to_rgb=True, num_classes=3,
            batch_augments=dict(augments=[dict(type=kind, alpha=0.8)])))
        np.random.seed(3)
        torch.manual_seed(3)
        made.append(preprocessor(copy.deepcopy(data), training))
    torch.testing.assert_close(made[1]['inputs'], made[0]['inputs'], rtol=0, atol=0)
    for actual, expected in zip(*(m['data_samples'] for m in made[::-1]), strict=True):
        assert torch.equal(actual.gt_label, expected.gt_label)
        assert torch.equal(actual.gt_score, expected.gt_score)
