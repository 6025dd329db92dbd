# CamVid at a third of its size: 120x160 crops, a scale that two CPU cores can train.
# Labels keep 360x480; predictions are scaled up to them before they are counted.
dataset_type = 'mmvitlin.CamVidDataset'
data_root = 'data/camvid'
num_classes = 11
# Without weights, small networks learn none of poles, signs, pedestrians and bicyclists, which are
# 3% of the pixels, in some hundred iterations. These are the last column of
#   python tools/check_data.py configs/seg/fcn_vit-nano_camvid.py
class_weight = [0.53, 0.45, 2.19, 0.39, 1.00, 0.65, 1.96, 1.41, 0.89, 2.53, 2.97]
crop_size = (120, 160)
load_labels = dict(type='mmvitlin.LoadSegLabels', num_classes=num_classes, void_labels=[11])
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    load_labels,
    dict(type='RandomResize', scale=(160, 120), ratio_range=(1.0, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='Resize', scale=(160, 120), keep_ratio=True),
    load_labels,
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    worker_init_fn=dict(type='mmvitlin.patient_worker'),
    sampler=dict(type='mmvitlin.SeededInfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    worker_init_fn=dict(type='mmvitlin.patient_worker'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/test', seg_map_path='labels/test'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
