# SegFormer's all-MLP head on a SimpleFPN over four depths of Adventurer-B
_base_ = ['./upernet_adventurer-base.py']
model = dict(
    neck=dict(out_channels=None),
    decode_head=dict(
        _delete_=True,
        type='SegformerHead',
        in_channels=[768, 768, 768, 768],
        in_index=[0, 1, 2, 3],
        channels=256,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg={{_base_.norm_cfg}},
        align_corners=False,
        loss_decode=dict(
            type='mmvitlin.PixelCrossEntropyLoss', avg_non_ignore=True, loss_weight=1.0)),
    auxiliary_head=None)
