# the images of the built-in street scenes drawn at 512x1024, no labels: for distillation
_base_ = ['./streets_images_256x512.py']
data_root = 'data/streets'
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='RandomResize', scale=(1024, 512), ratio_range=(0.5, 1.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(256, 512)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
