# an Adventurer of 128 channels and 8 blocks on 8-pixel patches, with a two-convolution head
norm_cfg = dict(type='BN', requires_grad=True)
data_preprocessor = dict(
    type='mmvitlin.SegPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    test_cfg=dict(size_divisor=8),  # the patch: labels fit the image exactly
    size=(120, 160))
model = dict(
    type='mmvitlin.HighResSegmentor',  # EncoderDecoder, with tests in bounded memory
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='mmvitlin.Adventurer',
        arch=dict(embed_dims=128, num_layers=8),
        img_size=(120, 160),
        patch_size=8,
        drop_path_rate=0.1),
    decode_head=dict(
        type='FCNHead',
        in_channels=128,
        in_index=0,
        channels=128,
        num_convs=2,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(
            type='mmvitlin.PixelCrossEntropyLoss', avg_non_ignore=True, loss_weight=1.0)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
