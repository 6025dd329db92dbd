"""Strip by strip, the labels are mmseg's."""
import copy

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmvitlin.models.segmentors import HighResSegmentor
from mmvitlin.models.segmentors.high_res import strip_mib
from mmvitlin.ops.strips import MapRows, ResizedRows

NORM = dict(type='SegDataPreProcessor', mean=[0., 0., 0.], std=[1., 1., 1.], size_divisor=32,
            test_cfg=dict(size_divisor=32))


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


def pair(classes=7, out_channels=None, align_corners=False, head=None, **test_cfg):
    """mmseg's segmentor and this package's, with the same random weights."""
    torch.manual_seed(2)
    cfg = dict(
        data_preprocessor=NORM,
        backbone=dict(type='mmvitlin.TimmViT', model_name='vit_tiny_patch16_224', img_size=64,
                      model_kwargs=dict(embed_dim=48, depth=2, num_heads=3)),
        decode_head=dict(type='FCNHead', in_channels=48, in_index=0, channels=48, num_convs=0,
                         concat_input=False, num_classes=classes, out_channels=out_channels,
                         threshold=0.5, align_corners=align_corners, norm_cfg=None,
                         loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=out_channels == 1),
                         **(head or {})),
        test_cfg=ConfigDict(dict(mode='whole'), **test_cfg))
    reference = MODELS.build(dict(copy.deepcopy(cfg), type='EncoderDecoder')).eval()
    segmentor = MODELS.build(dict(copy.deepcopy(cfg), type='mmvitlin.HighResSegmentor')).eval()
    for p in reference.parameters():
        torch.nn.init.normal_(p, std=0.2)
    segmentor.load_state_dict(reference.state_dict())
    return reference, segmentor


def sample(size, ori=None, **meta):
    data_sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=ori or size, **meta))
    data_sample.gt_sem_seg = PixelData(data=torch.zeros(1, *(ori or size), dtype=torch.long))
    return data_sample


def patches(size):
    """An image of differing pieces, so that classes differ too."""
    small = torch.randn(1, 3, -(-size[0] // 8), -(-size[1] // 8)) * 20
    return torch.nn.functional.interpolate(small, size)[0] + torch.randn(3, *size)


def both(reference, segmentor, images, samples):
    """Labels of the two on the same data, and mmseg's scores to tell ties."""
    torch.manual_seed(1)
    inputs = [patches(size) for size in images]
    out = [net.test_step(dict(inputs=[i.clone() for i in inputs],
                              data_samples=copy.deepcopy(samples)))
           for net in (reference, segmentor)]
    return list(zip(*out, strict=True))


def assert_same(pairs):
    for reference, result in pairs:
        expected, actual = reference.pred_sem_seg.data, result.pred_sem_seg.data
        assert expected.shape == actual.shape
        assert len(expected.unique()) > 2
        assert actual.dtype == expected.dtype == torch.int64
        assert not hasattr(result, 'seg_logits')
        differ = expected.long() != actual.long()
        scores = reference.seg_logits.data
        top = scores.topk(2, 0).values if len(scores) > 1 else None
        if top is not None and differ.any():
            assert (top[0] - top[1])[differ[0]].max() < 1e-5 * top.abs().max()  # ties
        assert differ.sum() <= 1


SLIDE = dict(mode='slide', crop_size=(64, 64), stride=(40, 48))


@pytest.mark.parametrize('mode', [{}, SLIDE])
@pytest.mark.parametrize('strip_mib', [0.001, 32])
@pytest.mark.parametrize(('size', 'ori', 'meta'), [
    ((96, 128), None, {}),
    ((96, 128), (192, 256), {}),
    ((96, 128), (77, 131), {}),
    ((96, 128), (200, 301), dict(flip=True, flip_direction='horizontal')),
    ((96, 128), (50, 60), dict(flip=True, flip_direction='vertical')),
    ((90, 120), (180, 240), {}),
])
def test_labels_are_mmsegs(mode, strip_mib, size, ori, meta):
    reference, segmentor = pair(**mode, strip_mib=strip_mib)
    assert_same(both(reference, segmentor, [size], [sample(size, ori, **meta)]))


@pytest.mark.parametrize('mode', [{}, SLIDE])
def test_a_batch_of_two(mode):
    reference, segmentor = pair(**mode)
    size = (96, 96)
    samples = [sample(size, (120, 130)), sample(size, (60, 70))]
    assert_same(both(reference, segmentor, [size] * 2, samples))


def test_aligned_corners():
    assert_same(both(*pair(align_corners=True, strip_mib=0.001), [(96, 128)],
                     [sample((96, 128), (201, 133))]))


def test_one_channel_and_a_threshold():
    reference, segmentor = pair(classes=2, out_channels=1)
    shape = (64, 96)
    (expected, _), = both(reference, segmentor, [shape], [sample(shape, (100, 90))])
    for net in (reference, segmentor):
        net.decode_head.threshold = expected.seg_logits.data.median()
    (expected, actual), = both(reference, segmentor, [shape], [sample(shape, (100, 90))])
    assert (expected.pred_sem_seg.data != actual.pred_sem_seg.data).sum() <= 1
    assert 0 < actual.pred_sem_seg.data.float().mean() < 1


def test_without_metadata():
    reference, segmentor = pair()
    images = patches((64, 96))[None]
    expected, actual = (net(images, mode='predict')[0].pred_sem_seg.data
                        for net in (reference, segmentor))
    assert len(expected.unique()) > 2
    assert (expected != actual).sum() <= 1


@pytest.mark.parametrize(('classes', 'small'), [(7, torch.uint8), (300, torch.int16)])
def test_labels_are_int64_and_small_where_memory_matters(classes, small):
    images = torch.rand(1, 3, 64, 64)
    _, segmentor = pair(classes=classes, top_k=2)
    usual = segmentor(images, mode='predict')[0]
    segmentor.test_cfg['compact_labels'] = True
    compact = segmentor(images, mode='predict')[0]
    assert usual.pred_sem_seg.data.dtype == torch.int64
    assert compact.pred_sem_seg.data.dtype == small == usual.top_classes.data.dtype
    assert (usual.pred_sem_seg.data == compact.pred_sem_seg.data).all()


def as_dicts(samples):
    """As mmengine's evaluator hands them to metrics."""
    return [s.to_dict() for s in samples]


def test_mmsegs_metrics_write_the_predictions_for_a_server(tmp_path):
    """``format_only``: ids of Cityscapes, and ADE20K's, which begin at 1."""
    from mmseg.evaluation import IoUMetric
    from PIL import Image
    reference, segmentor = pair()
    outputs = both(reference, segmentor, [(64, 96)], [
        sample((64, 96), (80, 90), img_path='a/x_1.png', reduce_zero_label=True)])
    written = []
    for n, out in enumerate(zip(*outputs, strict=True)):
        metric = IoUMetric(format_only=True, output_dir=str(tmp_path / str(n)))
        metric.dataset_meta = dict(classes=tuple('abcdefg'))
        metric.process({}, as_dicts(out))
        written.append(np.asarray(Image.open(tmp_path / str(n) / 'x_1.png')))
    assert (written[0] == outputs[0][0].pred_sem_seg.data[0].numpy() + 1).all()
    assert (written[0] != written[1]).sum() <= 1


def test_ids_of_cityscapes_as_cityscapesmetric_converts_them(monkeypatch, tmp_path):
    """It writes −1 for what no class is; the scripts it needs are replaced by their table."""
    from mmseg.evaluation.metrics import citys_metric
    from PIL import Image

    class Labels:
        trainId2label = {n: type('Label', (), dict(id=i))
                         for n, i in enumerate((7, 8, 11, 12, 13, 17, 19))}
        trainId2label[255], trainId2label[-1] = (type('Label', (), dict(id=i)) for i in (0, -1))

    monkeypatch.setattr(citys_metric, 'CSLabels', Labels, raising=False)
    monkeypatch.setattr(citys_metric, 'CSEval', object(), raising=False)
    _, segmentor = pair()
    out = segmentor.predict(patches((64, 96))[None], [sample((64, 96), img_path='x.png')])
    metric = citys_metric.CityscapesMetric(output_dir=str(tmp_path), format_only=True,
                                           keep_results=True)
    metric.process({}, as_dicts(out))
    ids = np.array([7, 8, 11, 12, 13, 17, 19])[out[0].pred_sem_seg.data[0].numpy()]
    assert (np.asarray(Image.open(tmp_path / 'x.png')) == ids).all()


def test_mmsegs_visualiser_and_iou_take_the_predictions(tmp_path):
    from mmseg.evaluation import IoUMetric
    from mmseg.visualization import SegLocalVisualizer
    _, segmentor = pair()
    out = segmentor.predict(patches((64, 96))[None], [sample((64, 96), (80, 90), img_path='x.png')])
    out[0].gt_sem_seg.data = out[0].pred_sem_seg.data.clone()
    out[0].gt_sem_seg.data[0, :9] = 255
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=tuple('abcdefg'))
    metric.process({}, as_dicts(out))
    assert metric.compute_metrics(metric.results)['mIoU'] == 100.
    visualiser = SegLocalVisualizer(alpha=1.)
    visualiser.dataset_meta = dict(classes=tuple('abcdefg'),
                                   palette=[[20 * n + 9] * 3 for n in range(7)])
    visualiser.add_datasample('x', np.zeros((80, 90, 3), np.uint8), out[0], draw_gt=False,
                              with_labels=False, out_file=str(tmp_path / 'x.png'))
    drawn = visualiser.get_image()[..., 0]
    assert (drawn == 20 * out[0].pred_sem_seg.data[0].numpy() + 9).all()


def test_probabilities_and_the_most_probable_classes():
    reference, segmentor = pair(top_k=3, probabilities=True, strip_mib=0.01)
    (expected, actual), = both(reference, segmentor, [(64, 96)], [sample((64, 96), (80, 90))])
    probs = expected.seg_logits.data.softmax(0)
    torch.testing.assert_close(actual.class_probs.data.float(), probs, atol=1e-3, rtol=1e-2)
    assert (actual.top_classes.data[0] == actual.pred_sem_seg.data[0]).all()
    torch.testing.assert_close(actual.top_probs.data.float(), probs.topk(3, 0).values, atol=1e-3,
                               rtol=1e-2)


@pytest.mark.parametrize('mode', [{}, SLIDE])
def test_test_time_augmentation_is_mmsegs(mode):
    reference, segmentor = pair(**mode)
    sizes = [(64, 96), (64, 96), (96, 128)]
    samples = [sample(sizes[0], (80, 100), img_path='a.png'),
               sample(sizes[1], (80, 100), img_path='a.png', flip=True,
                      flip_direction='horizontal'),
               sample(sizes[2], (80, 100), img_path='a.png', flip=True, flip_direction='vertical')]
    inputs = [patches(size) for size in sizes]
    merged = []
    for net, kind in ((reference, 'SegTTAModel'), (segmentor, 'mmvitlin.HighResTTAModel')):
        model = MODELS.build(dict(type=kind, module=net))
        data = dict(inputs=[[i.clone()] for i in inputs],
                    data_samples=[[copy.deepcopy(s)] for s in samples])
        with torch.no_grad():
            merged.append(model.test_step(data)[0].pred_sem_seg.data.squeeze())
    assert len(merged[0].unique()) > 2
    assert (merged[0] != merged[1]).sum() <= 1


@pytest.mark.parametrize(('mode', 'size', 'ori'), [
    ({}, (256, 256), None), ({}, (256, 256), (64, 64)), ({}, (96, 96), (256, 256)),
    (dict(mode='slide', crop_size=(64, 64), stride=(48, 48)), (256, 256), None),
    (dict(mode='slide', crop_size=(64, 64), stride=(48, 48)), (256, 256), (64, 64)),
])
def test_never_more_than_a_strip_of_scores(mode, size, ori):
    """No tensor of C×H×W scores is ever asked for, of the network's size or the image's."""
    _, segmentor = pair(classes=50, strip_mib=0.1, **mode)
    biggest = 0
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal biggest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.dtype == torch.float32 and \
                    out.untyped_storage().data_ptr() != images.untyped_storage().data_ptr():
                biggest = max(biggest, out.numel())
            return out

    images, meta = torch.rand(1, 3, *size), [sample(size, ori)]
    with torch.no_grad(), Watch():
        segmentor.predict(images, meta)
    # a strip, or the one row that a strip has at least, with the rows it is made of
    one_row = 50 * max(size[1], (ori or size)[1]) * (2 + 2 * size[0] // (ori or size)[0])
    features = 48 * 3 * 17 * 17 * 4
    assert biggest < max(0.1 * 2**18, one_row, features) * 1.1
    assert biggest < 50 * 256 * 256 / 8


def test_a_head_with_scores_of_its_own_still_works(monkeypatch, caplog):
    reference, segmentor = pair()
    head = type(segmentor.decode_head)
    monkeypatch.setattr(head, 'predict', lambda self, x, metas, cfg: self.predict_by_feat(
        self.forward(x), metas))
    assert_same(both(reference, segmentor, [(64, 96)], [sample((64, 96), (100, 90))]))


@pytest.mark.parametrize('mode', [{}, SLIDE])
def test_half_precision_scores_are_compared_in_float32(mode):
    _, segmentor = pair(**mode)
    whole, = segmentor(torch.rand(1, 3, 96, 128), mode='predict')
    torch.manual_seed(5)
    image = torch.rand(1, 3, 96, 128)
    with torch.autocast('cpu', torch.bfloat16):
        source, = segmentor.row_sources(image)
        rows = source.rows(0, 96)
    assert rows.dtype == torch.float32
    assert whole.pred_sem_seg.data.shape == (1, 96, 128)


def test_two_classes_of_one_channel():
    _, segmentor = pair(classes=2, out_channels=1, top_k=1, probabilities=True)
    segmentor.decode_head.threshold = 0.5
    actual, = segmentor(torch.rand(1, 3, 64, 96), mode='predict')
    assert actual.class_probs.data.shape == (2, 64, 96)
    torch.testing.assert_close(actual.class_probs.data.float().sum(0), torch.ones(64, 96),
                               atol=2e-3, rtol=0)
    assert (actual.top_classes.data == actual.pred_sem_seg.data).float().mean() > 0.999


def test_bad_modes():
    with pytest.raises(ValueError, match="test_cfg.mode must be 'whole' or 'slide', got 'tiles'"):
        pair(mode='tiles')
    with pytest.raises(ValueError, match='needs test_cfg.crop_size'):
        pair(mode='slide')
    with pytest.raises(ValueError, match=r'stride \(96, 96\) must be positive and at most'):
        pair(mode='slide', crop_size=(64, 64), stride=(96, 96))


def test_masks_and_classes_as_mask2former_makes_them():
    from mmvitlin.ops.strips import MapRows, MaskClassRows, ResizedRows
    masks, classes = torch.randn(5, 12, 20), torch.rand(5, 4)
    source = MaskClassRows(ResizedRows(MapRows(masks), (48, 80)), classes)
    actual = torch.cat([rows for _, _, rows in source.strips(0.005)], dim=1)
    large = torch.nn.functional.interpolate(masks[None], (48, 80), mode='bilinear')[0].sigmoid()
    torch.testing.assert_close(actual, torch.einsum('qc,qhw->chw', classes, large))
    _, segmentor = pair(classes=4, probabilities=True, top_k=2)
    final = ResizedRows(source, (96, 160))
    assert final.are_probabilities
    outputs = segmentor.decide([final])
    large = torch.nn.functional.interpolate(actual[None], (96, 160), mode='bilinear')[0]
    torch.testing.assert_close(outputs['class_probs'].float(), large / large.sum(0), atol=2e-3,
                               rtol=0)
    assert (outputs['pred_sem_seg'][0] != large.argmax(0)).sum() <= 1
    assert (outputs['top_classes'][0] != outputs['pred_sem_seg'][0]).sum() <= 1


def test_it_is_an_encoder_decoder():
    assert 'EncoderDecoder' in [kind.__name__ for kind in HighResSegmentor.__mro__[:3]]


def test_strips_follow_the_memory_of_a_gpu(monkeypatch):
    gibibyte = 2**30
    for name, value in (('mem_get_info', (6 * gibibyte, 24 * gibibyte)),
                        ('memory_reserved', 4 * gibibyte), ('memory_allocated', 2 * gibibyte)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert strip_mib(torch.device('cpu')) == 32
    assert strip_mib(torch.device('cuda')) == 2048  # a quarter of 6 + 4 - 2 GiB
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (0, 24 * gibibyte))
    monkeypatch.setattr(torch.cuda, 'memory_reserved', lambda device: 2 * gibibyte)
    assert strip_mib(torch.device('cuda')) == 32
    # 19 classes at 1024x2048: one strip there, where a processor takes many
    source = ResizedRows(MapRows(torch.empty(19, 64, 128, device='meta')), (1024, 2048))
    assert len(list(source.strips(2048))) == 1
    assert len(list(source.strips(32))) == 11
