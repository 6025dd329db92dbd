# COCO's things and stuff: large-scale jitter (0.1 to 2) into 1024x1024 in training
dataset_type = 'mmvitlin.CocoPanoptic'
data_root = 'data/coco'
image_size = (1024, 1024)
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='mmvitlin.LoadPanoptic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomResize', scale=image_size, ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(
        type='RandomCrop',
        crop_type='absolute',
        crop_size=image_size,
        recompute_bbox=True,
        allow_negative_crop=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='Resize', scale=image_size, keep_ratio=True),
    dict(type='mmvitlin.PadCanvas', size=image_size, value=(104, 116, 124)),  # the mean
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor',
                   'seg_map_path', 'segments_info', 'ignores_orientation')),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    worker_init_fn=dict(type='mmvitlin.patient_worker'),
    sampler=dict(type='mmvitlin.SeededSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017', seg='annotations/panoptic_train2017'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    worker_init_fn=dict(type='mmvitlin.patient_worker'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(img='val2017', seg='annotations/panoptic_val2017'),
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='mmvitlin.PanopticQuality'),
    dict(
        type='mmvitlin.CocoScores',
        ann_file=data_root + '/annotations/instances_val2017.json',
        metric=['bbox', 'segm']),
]
test_evaluator = val_evaluator
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
