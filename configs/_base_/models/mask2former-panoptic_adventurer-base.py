# Mask2Former for things and stuff on a SimpleFPN over four depths of Adventurer-B
_base_ = ['./mask2former_parts.py']
thing_count, stuff_count = 80, 53
model = dict(
    type='Mask2Former',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        non_blocking=True,
        pad_size_divisor=32,
        pad_mask=True,
        mask_pad_value=0,
        pad_seg=True,
        seg_pad_value=255,
        batch_augments=[
            dict(type='BatchFixedSizePad', size=(1024, 1024), img_pad_value=0, pad_mask=True,
                 mask_pad_value=0, pad_seg=True, seg_pad_value=255)
        ]),
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
        type='mmvitlin.SimpleFPN', in_channels=768, out_channels=None, strides=(4, 8, 16, 32)),
    panoptic_head=dict(
        type='mmvitlin.Mask2FormerPanopticHead',
        in_channels=[768, 768, 768, 768],
        strides=[4, 8, 16, 32],
        feat_channels=256,
        out_channels=256,
        num_things_classes=thing_count,
        num_stuff_classes=stuff_count,
        num_queries=100,
        num_transformer_feat_level=3,
        pixel_decoder={{_base_.pixel_decoder}},
        enforce_decoder_input_project=False,
        positional_encoding={{_base_.position}},
        transformer_decoder={{_base_.transformer_decoder}},
        loss_cls=dict(
            type='CrossEntropyLoss', use_sigmoid=False, loss_weight=2.0, reduction='mean',
            class_weight=[1.0] * (thing_count + stuff_count) + [0.1]),
        loss_mask={{_base_.loss_mask}},
        loss_dice={{_base_.loss_dice}}),
    panoptic_fusion_head=dict(
        type='MaskFormerFusionHead',
        num_things_classes=thing_count,
        num_stuff_classes=stuff_count,
        loss_panoptic=None,
        init_cfg=None),
    train_cfg={{_base_.matching}},
    test_cfg=dict(
        panoptic_on=True,
        semantic_on=False,
        instance_on=True,
        max_per_image=100,
        iou_thr=0.8,
        filter_low_score=True))
