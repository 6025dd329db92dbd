# ImageNet-1K's training images without labels, 224x224; any folder of images will do:
#   --cfg-options data_root=FOLDER train_dataloader.dataset.data_prefix=''
data_root = 'data/imagenet'
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='mmvitlin.SeededSampler', shuffle=True, salt=1),  # fine-tuning has 0
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        with_label=False,
        pipeline=train_pipeline))
