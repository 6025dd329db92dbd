"""Batches of segmentation as one tensor: against mmseg's, values and operators."""
import copy

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from torch.utils._python_dispatch import TorchDispatchMode

from mmvitlin.models.segmentors.batches import stacked

pytest.importorskip('mmseg')
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample

NORM = dict(mean=[123., 116., 103.], std=[58., 57., 56.5], bgr_to_rgb=True, seg_pad_val=255)


def batch(*sizes, **more):
    torch.manual_seed(0)
    samples = []
    for size in sizes:
        sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 3, (1, *size))))
        sample.set_metainfo(dict(img_shape=(9, 9), ori_shape=size, img_path='x.png'))
        for name, value in more.items():
            setattr(sample, name, value)
        samples.append(sample)
    return dict(inputs=[torch.randint(0, 256, (3, *s), dtype=torch.uint8) for s in sizes],
                data_samples=samples)


@pytest.mark.parametrize('options', [dict(size=(8, 16)), dict(size_divisor=8), dict(size=(16, 16))])
@pytest.mark.parametrize('sizes', [[(8, 16)] * 2, [(8, 16), (8, 8)], [(5, 16), (8, 7), (3, 3)]])
@pytest.mark.parametrize('training', [True, False])
def test_as_mmseg_s(options, sizes, training, monkeypatch):
    made = []
    for kind in ('SegDataPreProcessor', 'mmvitlin.SegPreprocessor'):
        init_default_scope('mmseg')
        data = batch(*sizes) if training else batch(*sizes[:1])
        before = copy.deepcopy(data)
        preprocessor = MODELS.build(dict(
            type=kind, **NORM, **options, test_cfg=dict(size_divisor=8)))
        if training:
            monkeypatch.setattr(SegDataPreProcessor, 'forward', None) if kind.startswith(
                'mmvitlin') else monkeypatch.undo()  # ours does not go there
        made.append(preprocessor(data, training))
        if kind.startswith('mmvitlin'):  # what was loaded stays as it was, to be seen again
            for sample, old in zip(data['data_samples'], before['data_samples'], strict=True):
                if training:
                    assert sample.metainfo == old.metainfo
                    assert torch.equal(sample.gt_sem_seg.data, old.gt_sem_seg.data)
    torch.testing.assert_close(made[1]['inputs'], made[0]['inputs'])
    for actual, expected in zip(made[1]['data_samples'], made[0]['data_samples'], strict=True):
        assert torch.equal(actual.gt_sem_seg.data, expected.gt_sem_seg.data)
        assert actual.metainfo == expected.metainfo
        assert set(actual.keys()) == set(expected.keys())


def test_parts_of_one_tensor_are_not_copied():
    whole = torch.arange(24).view(3, 1, 2, 4).clone()
    parts = list(whole)
    assert stacked(parts) is whole
    for others in (parts[::-1], parts[:2], [p.clone() for p in parts]):
        assert torch.equal(stacked(others), torch.stack(others))


class Stacks(TorchDispatchMode):
    """Counts stacks of labels."""
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.count += func.name() in ('aten::stack', 'aten::cat') and out.dtype == torch.int64
        return out


@pytest.mark.parametrize('kind', ['SegDataPreProcessor', 'mmvitlin.SegPreprocessor'])
def test_heads_share_the_labels(kind):
    from mmvitlin.engine.runner.config import load_config
    init_default_scope('mmseg')
    cfg = load_config('configs/seg/cityscapes_1024.py').model
    cfg.backbone.update(arch=dict(embed_dims=32, num_layers=4), out_indices=(0, 1, 2, 3),
                        img_size=(32, 32), init_cfg=None)
    cfg.neck.in_channels = 32
    cfg.decode_head.channels = cfg.auxiliary_head.channels = 16
    cfg.data_preprocessor.update(type=kind, size=(64, 64))
    torch.manual_seed(0)
    model = MODELS.build(cfg).train()
    data = model.data_preprocessor(batch((64, 64), (64, 64)), True)
    losses = []
    for run in (model.loss, super(type(model).__mro__[1], model).loss):
        torch.manual_seed(1)
        with Stacks() as counter:
            losses.append(run(**data))
        if run == model.loss:
            assert counter.count == (0 if kind.startswith('mmvitlin') else 1)
        else:
            assert counter.count == 2
    for name, value in losses[0].items():
        torch.testing.assert_close(value, losses[1][name])
    assert '_stack_batch_gt' not in vars(model.decode_head)


def test_a_size_and_a_divisor_together_are_refused_as_by_mmseg():
    init_default_scope('mmseg')
    preprocessor = MODELS.build(dict(type='mmvitlin.SegPreprocessor', **NORM, size=(8, 16),
                                     size_divisor=32))
    with pytest.raises(AssertionError, match='only one of size and size_divisor'):
        preprocessor(batch((8, 16)), training=True)
