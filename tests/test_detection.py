"""What is missing for detection is told; operators in the layouts and types of half precision."""

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmvitlin import detection
from mmvitlin.engine.config import load_config
from mmvitlin.engine.preflight import preflight
from mmvitlin.errors import ConfigError
from tests.conftest import ROOT
from tests.detecting import STREETS, needs_mmdet, tiny


@pytest.mark.parametrize('missing', [['mmdet'], ["mmcv's compiled ops"]])
def test_what_is_missing_is_told_in_one_line(monkeypatch, streets, missing):
    monkeypatch.setattr(detection, 'lacking', lambda: missing)
    for path in (STREETS, str(ROOT / 'configs/seg/cityscapes_1024_mask2former.py')):
        with pytest.raises(ConfigError, match=r'py needs mmdet .*missing: run `make setup-full`'):
            preflight(load_config(path, {'data_root': str(streets)}))


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
    """NMS moves class 79 by 79 images, where bfloat16 has one number for 512 pixels."""
    detection.prepare('this test')
    from mmcv.ops import batched_nms as by_package
    from mmdet.models.layers.bbox_nms import batched_nms as by_name
    boxes, scores = crowded_corner()
    labels, how = torch.full((100, ), 79), dict(type='nms', iou_threshold=0.5)
    want = by_name(boxes.to(dtype).float(), scores, labels, how)
    assert len(want[1]) == 20
    for suppress in (by_name, by_package):
        for given in (scores, scores.to(dtype)):
            found, kept = suppress(boxes.to(dtype), given, labels, how)
            assert found.dtype == torch.float32
            if given is scores:
                assert kept.tolist() == want[1].tolist()
            assert len(kept) == 20


@needs_mmdet
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_moves_no_box(dtype):
    """Priors, decoded proposals and the regions that features are cut from stay in float32."""
    detection.prepare('this test')
    init_default_scope('mmdet')
    model = tiny('configs/det/coco_1024.py')
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

    points = MODELS.build(dict(tiny('configs/det/coco_1024_fcos.py').bbox_head, strides=[8, ],
                               regress_ranges=((-1, 1e8), ))).prior_generator
    for made in (points, rpn.prior_generator):
        sizes = [(128, 128), (64, 64)][:made.num_levels]
        for level in made.grid_priors(sizes, dtype=dtype, device='cpu'):
            assert level.dtype == torch.float32
        assert made.sparse_priors(torch.arange(3), sizes[0], 0, dtype, 'cpu').dtype == torch.float32


@needs_mmdet
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_layout_and_type_do_not_change_what_roi_align_reads(dtype):
    detection.prepare('this test')
    from mmcv.ops import RoIAlign
    maps = torch.randn(2, 8, 16, 16)
    rois = torch.tensor([[0, 4., 4, 40, 40], [1, 0, 10, 30, 60]])
    align, weight = RoIAlign(7, 0.25, 0), torch.randn(2, 8, 7, 7)
    found = []
    for x in (maps, maps.to(dtype).to(memory_format=torch.channels_last)):
        x = x.clone(memory_format=torch.preserve_format).requires_grad_()
        out = align(x, rois)
        (out.float() * weight).sum().backward()
        found.append((out.float(), x.grad.float()))
    tolerance = dict(rtol=1e-6, atol=1e-6) if dtype == torch.float32 else dict(rtol=0.02, atol=0.05)
    torch.testing.assert_close(found[1], found[0], **tolerance)
