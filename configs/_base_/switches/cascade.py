# a switch: Cascade Mask R-CNN instead of Mask R-CNN on COCO: three box heads of rising
# quality, as in ViTDet (arXiv 2203.16527); losses, proposals and weights are Mask R-CNN's.
# detectron2 lets a third of each box head's gradient into the pyramid besides; mmdet all of it, and
# gives each box head a mask head where ViTDet has one in all.
norm_cfg = dict(type='mmpretrain.LN2d', requires_grad=True)
box_heads = [
    dict(
        type='ConvFCBBoxHead',
        num_shared_convs=4,
        num_shared_fcs=1,
        in_channels=256,
        conv_out_channels=256,
        fc_out_channels=1024,
        roi_feat_size=7,
        num_classes=80,
        norm_cfg=norm_cfg,
        reg_class_agnostic=True,
        bbox_coder=dict(
            type='mmvitlin.DeltaXYWHBBoxCoder', target_means=[0., 0., 0., 0.],
            target_stds=deviations),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=1.0))
    for deviations in ([1 / 10] * 2 + [1 / 5] * 2, [1 / 20] * 2 + [1 / 10] * 2,
                       [1 / 30] * 2 + [1 / 15] * 2)
]
stages = [
    dict(
        assigner=dict(
            type='MaxIoUAssigner', pos_iou_thr=quality, neg_iou_thr=quality, min_pos_iou=quality,
            match_low_quality=False, ignore_iof_thr=-1),
        sampler=dict(
            type='RandomSampler', num=512, pos_fraction=0.25, neg_pos_ub=-1,
            add_gt_as_proposals=True),
        mask_size=28,
        pos_weight=-1,
        debug=False) for quality in (0.5, 0.6, 0.7)
]
model = dict(
    type='CascadeRCNN',
    roi_head=dict(
        type='CascadeRoIHead', num_stages=3, stage_loss_weights=[1, 1, 1], bbox_head=box_heads),
    train_cfg=dict(rcnn=stages))
