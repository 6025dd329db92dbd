# a small Mask R-CNN on an Adventurer of 128 channels and 8 blocks, for the built-in streets
_base_ = ['./mask-rcnn_adventurer-base.py']
model = dict(
    data_preprocessor=dict(
        batch_augments=[dict(type='BatchFixedSizePad', size=(256, 512), pad_mask=True)]),
    backbone=dict(
        _delete_=True,
        type='mmvitlin.Adventurer',
        arch=dict(embed_dims=128, num_layers=8),
        img_size=(256, 512),
        patch_size=16,
        drop_path_rate=0.1),
    neck=dict(in_channels=128, out_channels=64, strides=(4, 8, 16, 32, 64)),
    rpn_head=dict(
        in_channels=64, feat_channels=64, num_convs=1,
        anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(
            in_channels=64, conv_out_channels=64, fc_out_channels=256, num_shared_convs=2,
            num_classes=8),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=64, num_classes=8)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=250), rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=250)))
