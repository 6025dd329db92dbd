# the images of CamVid's training split, no labels: for distillation
data_root = 'data/camvid'
crop_size = (120, 160)
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='RandomResize', scale=(160, 120), ratio_range=(1.0, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    worker_init_fn=dict(type='mmvitlin.patient_worker'),
    sampler=dict(type='mmvitlin.SeededInfiniteSampler', shuffle=True, salt=1),  # fine-tuning has 0
    dataset=dict(
        type='mmvitlin.CamVidDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/train'),
        pipeline=train_pipeline))
