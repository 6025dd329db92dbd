"""What is missing for detection is told; operators in the layouts and types of half precision."""

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmvitlin.compat import detection
from mmvitlin.engine.rules import check
from mmvitlin.engine.runner.config import load_config
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.detecting import STREETS, needs_mmdet, tiny


@pytest.mark.parametrize('missing', [['mmdet'], ["mmcv's compiled ops"]])
def test_what_is_missing_is_reported_in_one_line(monkeypatch, streets, missing):
    monkeypatch.setattr(detection, 'lacking', lambda: missing)
    for path in (STREETS, str(ROOT / 'configs/seg/mask2former_adventurer-base_cityscapes-1024.py')):
        with pytest.raises(ConfigError, match=r'py needs mmdet .*missing: run `make setup-full`'):
            check(load_config(path, {'data_root': str(streets)}))


def crowded_corner() -> tuple[torch.Tensor, torch.Tensor]:
    """(100, 4) boxes: 20 objects far from the corner, five times each; (100, ) scores."""
    generator = torch.Generator().manual_seed(1)
    corner = torch.cartesian_prod(torch.arange(5) * 200., torch.arange(4) * 220.)
    side = 50 + 40 * torch.rand(20, 2, generator=generator)
    boxes = torch.cat([corner, corner + side], dim=1).repeat_interleave(5, 0)
    shake = (2 * torch.randn(100, 4, generator=generator)).clamp(-4, 4)
    return (boxes + shake).clamp(0, 1023), torch.rand(100, generator=generator)


@needs_mmdet
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_boxes_of_the_last_class(dtype):
    """NMS moves class 79 by 79 images, where bfloat16 has one number for 512 pixels; the
    package's coder gives it boxes in float32, and the scores keep their type."""
    from mmdet.models.layers.bbox_nms import batched_nms
    from mmengine.registry import TASK_UTILS
    coder = TASK_UTILS.build(dict(type='mmvitlin.DeltaXYWHBBoxCoder', target_stds=[1.] * 4))
    boxes, scores = crowded_corner()
    labels, how = torch.full((100, ), 79), dict(type='nms', iou_threshold=0.5)
    expected = batched_nms(boxes, scores, labels, how)[1]
    assert len(expected) == 20
    decoded = coder.decode(boxes, torch.zeros(100, 4, dtype=dtype))
    torch.testing.assert_close(decoded, boxes)
    assert batched_nms(decoded, scores, labels, how)[1].tolist() == expected.tolist()
    kept_boxes, kept = batched_nms(decoded, scores.to(dtype), labels, how)
    assert kept_boxes.dtype == torch.float32
    assert len(kept) == 20


@needs_mmdet
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_moves_no_box(dtype):
    """Priors, decoded proposals and the regions that features are cut from stay in float32."""
    init_default_scope('mmdet')
    model = tiny('configs/det/mask-rcnn_adventurer-base_coco-1024.py')
    every = model.test_cfg.rpn
    every.update(nms_pre=-1, max_per_img=100_000, nms=dict(type='nms', iou_threshold=1.))
    rpn = MODELS.build(dict(model.rpn_head, train_cfg=None, test_cfg=every)).eval()
    generator = torch.Generator().manual_seed(0)
    scores, deltas = ([torch.randn(1, 3 * n, 1024 // s, 1024 // s, generator=generator).to(dtype)
                       / 4 for s in (32, 64)] for n in (1, 4))
    rpn.prior_generator = type(rpn.prior_generator)(strides=[32, 64], ratios=[0.5, 1., 2.],
                                                    scales=[8])
    meta = dict(img_shape=(1024, 1024), scale_factor=(1., 1.))
    half, full = (rpn.predict_by_feat([x.to(t) for x in scores], [x.to(t) for x in deltas],
                                      batch_img_metas=[meta])[0]
                  for t in (dtype, torch.float32))
    assert half.bboxes.dtype == torch.float32
    assert len(full) == len(half) > 3000  # in another order, as scores become equal
    apart = torch.cdist(half.bboxes, full.bboxes, compute_mode='donot_use_mm_for_euclid_dist')
    assert apart.min(dim=1).values.max() < 1e-3

    extractor = MODELS.build(model.roi_head.bbox_roi_extractor)
    maps = [torch.randn(1, 256, 1024 // s, 1024 // s, generator=generator).to(dtype)
            for s in (4, 8, 16, 32)]
    rois = torch.tensor([[0., 901.3, 843.7, 938.9, 880.1]])
    torch.testing.assert_close(extractor(maps, rois).float(),
                               extractor([m.float() for m in maps], rois), atol=0.02, rtol=0.02)

    fcos = tiny('configs/det/fcos_adventurer-base_coco-1024.py').bbox_head
    points = MODELS.build(dict(fcos, strides=[8, ], regress_ranges=((-1, 1e8), ))).prior_generator
    for made in (points, rpn.prior_generator):
        sizes = [(128, 128), (64, 64)][:made.num_levels]
        for level in made.grid_priors(sizes, dtype=dtype, device='cpu'):
            assert level.dtype == torch.float32
        assert made.sparse_priors(torch.arange(3), sizes[0], 0, dtype, 'cpu').dtype == torch.float32


@needs_mmdet
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_layout_and_type_do_not_change_what_is_cut_from_maps(dtype):
    from mmengine.registry import MODELS
    maps = torch.randn(2, 8, 16, 16)
    rois = torch.tensor([[0, 4., 4, 40, 40], [1, 0, 10, 30, 60]])
    extractor = MODELS.build(dict(
        type='mmvitlin.SingleRoIExtractor', out_channels=8, featmap_strides=[4],
        roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0)))
    weight, outputs = torch.randn(2, 8, 7, 7), []
    for x in (maps, maps.to(dtype).to(memory_format=torch.channels_last)):
        x = x.clone(memory_format=torch.preserve_format).requires_grad_()
        out = extractor([x], rois)
        assert out.dtype == x.dtype
        (out.float() * weight).sum().backward()
        outputs.append((out.float(), x.grad.float()))
    tolerance = dict(rtol=1e-6, atol=1e-6) if dtype == torch.float32 else dict(rtol=0.02, atol=0.05)
    torch.testing.assert_close(outputs[1], outputs[0], **tolerance)


@needs_mmdet
def test_parts_of_mmdet_in_another_layout_or_precision(streets, monkeypatch):
    from mmvitlin.engine.rules import boxes
    messages = []
    monkeypatch.setattr(boxes, 'warn', messages.append)
    cfg = load_config(STREETS, {'data_root': str(streets)})
    check(cfg)
    assert not messages
    cfg.optim_wrapper.type = 'mmvitlin.CPUAmpOptimWrapper'
    cfg.model.rpn_head.anchor_generator.type = 'AnchorGenerator'
    cfg.model.roi_head.bbox_roi_extractor.type = 'mmdet.SingleRoIExtractor'
    check(cfg)
    assert 'AnchorGenerator, SingleRoIExtractor of mmdet round boxes' in messages[0]
    cfg.model.neck = dict(type='FPN', in_channels=[32], out_channels=32, num_outs=5)
    with pytest.raises(ConfigError, match=r'model.roi_head.bbox_roi_extractor is mmdet.s Single'):
        check(cfg)
