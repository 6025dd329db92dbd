"""Configs that import the classes they name, mmengine's newer form."""
import numpy as np

from mmvitlin.apis import SegInferencer
from mmvitlin.apis.export import load_trained
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import evaluate, train

CONFIG = '''
from mmcv.transforms import Resize
from mmengine.config import read_base
from mmengine.dataset import DefaultSampler
from mmengine.runner import IterBasedTrainLoop, TestLoop, ValLoop
from mmseg.datasets import CityscapesDataset, PackSegInputs
from mmseg.evaluation import IoUMetric
from mmseg.models import EncoderDecoder, FCNHead, SegDataPreProcessor
from torch.optim import AdamW

from mmvitlin.datasets.transforms.loading import LoadImage
from mmvitlin.datasets.transforms.seg_loading import LoadSegLabels
from mmvitlin.models import Adventurer

with read_base():
    from .base import *

model = dict(
    type=EncoderDecoder,
    data_preprocessor=dict(type=SegDataPreProcessor, mean=[123.675, 116.28, 103.53],
                           std=[58.395, 57.12, 57.375], bgr_to_rgb=True, size=(64, 128),
                           pad_val=0, seg_pad_val=255),
    backbone=dict(type=Adventurer, arch=dict(embed_dims=32, num_layers=2), img_size=(64, 128),
                  patch_size=16),
    decode_head=dict(type=FCNHead, in_channels=32, channels=16, num_classes=19, num_convs=1),
    test_cfg=dict(mode='whole'))
steps = [dict(type=LoadImage), dict(type=Resize, scale=(128, 64)),
         dict(type=LoadSegLabels, num_classes=19), dict(type=PackSegInputs)]
part = dict(type=CityscapesDataset, data_root=data_root)
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(part, data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
                 pipeline=steps))
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(part, data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
                 pipeline=[steps[0], steps[2], steps[1], steps[3]]))
test_evaluator = dict(type=IoUMetric, iou_metrics=['mIoU'])
train_cfg = dict(type=IterBasedTrainLoop, max_iters=1)
optim_wrapper = dict(optimizer=dict(type=AdamW, lr=1e-3))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1))
val_dataloader, val_evaluator = test_dataloader, test_evaluator
test_cfg, val_cfg = dict(type=TestLoop), dict(type=ValLoop)
'''


def test_every_tool_takes_classes_for_their_names(streets, tmp_path):
    (tmp_path / 'base.py').write_text(
        f"default_scope = 'mmseg'\nallow_random_weights = True\ndata_root = '{streets}'\n")
    path = tmp_path / 'config.py'
    path.write_text(CONFIG)
    cfg = load_config(str(path), work_dir=str(tmp_path / 'work'))
    assert cfg.model.backbone.type == 'mmvitlin.Adventurer'
    assert cfg.model.type == 'mmseg.EncoderDecoder'
    train(cfg)
    checkpoint = str(tmp_path / 'work' / 'iter_1.pth')
    scores = evaluate(load_config(str(path), work_dir=str(tmp_path / 'test')), checkpoint)
    assert 0 <= scores['mIoU'] <= 100
    infer = SegInferencer(str(path), checkpoint)
    assert type(infer.model).__name__ == 'HighResSegmentor'  # the same network, less memory
    image = np.random.default_rng(0).integers(0, 256, (64, 100, 3), np.uint8)
    assert infer(image)[0].labels.shape == (64, 100)
    assert load_trained(str(path), checkpoint).config.model.type == 'mmseg.EncoderDecoder'
