"""The costs on docs/scaling.md are counted: three forward passes of what is trained, one of a
teacher."""
import re

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmvitlin.benchmark.flops import count
from mmvitlin.engine.runner.config import load_config
from mmvitlin.models import Adventurer, TimmViT
from tests.conftest import ROOT


def tera(network, side):
    return count(network, (1, 3, side, side)).flops / 1e12


def large(attention):
    return TimmViT('vit_large_patch14_dinov2.lvd142m', attention=attention, img_size=448,
                   model_kwargs=dict(patch_size=16))


def counted():
    """First words of a row → TFLOP an image."""
    init_default_scope('mmseg')
    with torch.device('meta'):
        teacher = TimmViT('vit_base_patch16_clip_quickgelu_224.openai')
        yield 'ViT-Linearizer', tera(teacher, 224) + 3 * tera(Adventurer('base'), 224)
        teacher = tera(large('softmax'), 448)
        # attention alone: four projections of 785 tokens of 1024 channels, and 4 L d · 64 of itself
        attention = 24 * 785 * (8 * 1024**2 + 4 * 1024 * 64) / 1e12
        yield 'ViT-AdaLA stage 1', teacher + 3 * attention
        yield 'ViT-AdaLA stage 2', teacher + 3 * tera(large('linear'), 448)
        model = load_config(str(ROOT / 'configs/seg/cityscapes_1024.py')).model
        model.backbone.init_cfg = None
        yield 'Cityscapes', 3 * tera(MODELS.build(model), 1024)


def test_the_rows_are_three_forward_passes():
    page = (ROOT / 'docs/scaling.md').read_text()
    for name, expected in counted():
        row, = re.findall(rf'^\| {name}.*$', page, re.M)
        _, _, images, teraflops, gpus, hours, _ = (cell.strip() for cell in row.split('|'))
        assert float(teraflops) == pytest.approx(expected, rel=0.06), name
        seen = float(images.removesuffix(' M')) * 1e6
        slow, fast = (seen * float(teraflops) / int(gpus) / rate / 3600 for rate in (80, 200))
        low, high = (float(n) for n in hours.split('–'))
        assert (low, high) == (pytest.approx(fast, rel=0.2), pytest.approx(slow, rel=0.2)), name
