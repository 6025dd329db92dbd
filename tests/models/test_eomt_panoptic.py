"""EoMT heads for things and stuff, with mmdet's fusion."""
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmvitlin.engine.runner.config import load_config
from tests.conftest import ROOT
from tests.detecting import needs_mmdet
from tests.models.test_eomt import BACKBONES


@needs_mmdet
@pytest.mark.parametrize('name', ['adventurer-base', 'vit-base', 'linear-vit-base'])
def test_panoptic(name):
    """The configs' heads and fusion on small backbones: losses, segments and instances."""
    from mmengine.structures import PixelData

    from mmvitlin.benchmark.samples import detection_sample
    model = load_config(str(ROOT / f'configs/det/eomt-panoptic_{name}_coco-1024.py')).model
    kind = {'adventurer-base': 'adventurer', 'vit-base': 'softmax'}.get(name, 'linear')
    model.backbone = dict(BACKBONES[kind], out_type='stream', out_indices=1)
    model.panoptic_head.update(in_channels=64, num_queries=12, loss=dict(num_points=64))
    model.data_preprocessor.batch_augments = None
    init_default_scope('mmdet')
    net = MODELS.build(model)
    images = torch.randn(1, 3, 64, 96)
    one = detection_sample(images[0])
    one.gt_sem_seg = PixelData(sem_seg=torch.full((1, 64, 96), 90))
    one.gt_sem_seg.sem_seg[0, 5:50, 8:70] = 0
    losses = net.train()(images, [one], mode='loss')
    assert sum('loss_mask' in k for k in losses) == 3
    sum(losses.values()).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        for p in net.panoptic_head.cls_embed.parameters():
            torch.nn.init.normal_(p, std=3.)
        result = net.eval()(images, [one], mode='predict')[0]
    assert result.pred_panoptic_seg.sem_seg.shape[-2:] == (64, 96)
    assert len(result.pred_instances.masks) > 0
