# the pretrained ViT-S/14 (saliency) that `mmvitlin fetch_teacher` gets, and a 1x1
# convolution on four depths of it
model = dict(
    type='mmvitlin.HighResSegmentor',
    data_preprocessor=dict(
        type='mmvitlin.SegPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        test_cfg=dict(size_divisor=14),  # the patch: labels fit the image exactly
        size=(168, 224)),
    backbone=dict(
        type='mmvitlin.TimmViT',
        model_name='vit_small_patch14_dinov2',
        out_indices=(2, 5, 8, 11),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='mmvitlin::vit-small-14_saliency',
            prefix='backbone.')),
    decode_head=dict(
        type='mmvitlin.LinearHead',
        in_channels=[384, 384, 384, 384],
        in_index=[0, 1, 2, 3],
        num_classes=11,
        align_corners=False,
        loss_decode=dict(type='mmvitlin.PixelCrossEntropyLoss', avg_non_ignore=True)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
