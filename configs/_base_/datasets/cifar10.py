# CIFAR-10 as images in folders, train/CLASS/*.jpg and test/CLASS/*.jpg, 32x32
data_root = 'data/cifar10'
num_classes = 10
data_preprocessor = dict(
    type='mmvitlin.ClsPreprocessor',
    num_classes=num_classes,
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    to_rgb=True)
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='Resize', scale=(32, 32)),  # their size; for tools that test at others
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    worker_init_fn=dict(type='mmvitlin.patient_worker'),
    sampler=dict(type='mmvitlin.SeededInfiniteSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset', data_root=data_root, data_prefix='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=256,
    num_workers=1,
    collate_fn=dict(type='default_collate'),
    worker_init_fn=dict(type='mmvitlin.patient_worker'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset', data_root=data_root, data_prefix='test', pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
