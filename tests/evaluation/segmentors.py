"""Segmentors of three colours of which it is known how they do with windows."""
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn

CROP = 64
CONFIG = """
custom_imports = dict(imports=['tests.evaluation.segmentors'])
default_scope = 'mmseg'
crop_size = (64, 64)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[0.] * 3, std=[1.] * 3,
                           bgr_to_rgb=True),
    backbone=dict(type='mmengine.{backbone}'),
    decode_head=dict(type='FCNHead', in_channels=3, in_index=0, channels=3, num_convs=0,
                     concat_input=False, num_classes=3, norm_cfg=None, dropout_ratio=0.),
    test_cfg=dict(mode='whole'))
data = dict(type='BaseSegDataset', data_root=r'{root}', img_suffix='.png',
            seg_map_suffix='.png', data_prefix=dict(img_path='images', seg_map_path='labels'),
            metainfo=dict(classes=('red', 'green', 'blue')))
train_dataloader = dict(dataset=dict(data, pipeline=[
    dict(type='RandomCrop', crop_size=crop_size)]))
test_dataloader = dict(dataset=dict(data, pipeline=[
    dict(type='mmvitlin.LoadImage'), dict(type='Resize', scale_factor=1.),
    dict(type='mmvitlin.LoadSegLabels', num_classes=3), dict(type='PackSegInputs')]))
test_evaluator = dict(type='IoUMetric')
"""


@MODELS.register_module(force=True)
class KnowsItsCrop(BaseModule):
    """Gives each pixel's colour, and red for images larger than the crop."""

    def forward(self, images):
        if max(images.shape[2:]) > CROP:
            images = torch.zeros_like(images)
        return (images, )


@MODELS.register_module(force=True)
class LooksAtAll(BaseModule):
    """Gives every pixel the mean colour of all that it sees."""

    def forward(self, images):
        return (images.mean((2, 3), keepdim=True).expand_as(images), )


def weights(path):
    """The head passes colours on."""
    eye = torch.eye(3)[:, :, None, None]
    torch.save(dict(state_dict={'decode_head.conv_seg.weight': eye,
                                'decode_head.conv_seg.bias': nn.Parameter(torch.zeros(3)).data}),
               path)
    return str(path)
