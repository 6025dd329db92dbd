# ADE20K's training images without labels: for dense distillation. None is smaller
# than the crop: here nothing marks what would be padded
data_root = 'data/ade/ADEChallengeData2016'
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
    worker_init_fn=dict(type='mmvitlin.patient_worker'),
    sampler=dict(type='mmvitlin.SeededInfiniteSampler', shuffle=True, salt=1),  # fine-tuning has 0
    dataset=dict(
        type='ADE20KDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/training'),
        pipeline=[
            dict(type='mmvitlin.LoadImage'),
            dict(type='RandomResize', scale=(2048, 512), ratio_range=(1.0, 2.0), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(512, 512)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
            dict(type='mmvitlin.PackImage'),
        ]))
