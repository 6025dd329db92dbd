# UPerNet on a SimpleFPN over four depths of Adventurer-B, 128 channels wide from the pyramid on: a
# fifth of the backbone's operations at 1024x1024. seg/upernet-heavy_* have 512, on maps of the
# backbone's width: more than twice the backbone's (docs/heads.md).
norm_cfg = dict(type='BN', requires_grad=True)  # synchronised by runtime's sync_bn
data_preprocessor = dict(
    type='mmvitlin.SegPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    test_cfg=dict(size_divisor=16),  # the patch: labels fit the image exactly
    size=(1024, 1024))
model = dict(
    type='mmvitlin.HighResSegmentor',  # EncoderDecoder, with tests in bounded memory
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='mmvitlin.Adventurer',
        arch='base',
        img_size=(1024, 1024),
        patch_size=16,
        out_indices=(2, 5, 8, 11),
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')),
    neck=dict(
        type='mmvitlin.SimpleFPN', in_channels=768, out_channels=128, strides=(4, 8, 16, 32),
        contiguous=False),
    decode_head=dict(
        type='UPerHead',
        in_channels=[128, 128, 128, 128],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=128,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(
            type='mmvitlin.PixelCrossEntropyLoss', avg_non_ignore=True, loss_weight=1.0)),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=128,
        in_index=2,
        channels=128,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(
            type='mmvitlin.PixelCrossEntropyLoss', avg_non_ignore=True, loss_weight=0.4)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
