# batch norm and a 1x1 convolution on the last map of Adventurer-B
_base_ = ['./upernet_adventurer-base.py']
model = dict(
    backbone=dict(out_indices=-1),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='mmvitlin.LinearHead',
        in_channels=768,
        num_classes=19,
        align_corners=False,
        loss_decode=dict(
            type='mmvitlin.PixelCrossEntropyLoss', avg_non_ignore=True, loss_weight=1.0)),
    auxiliary_head=None)
