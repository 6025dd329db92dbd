# the images of the built-in street scenes, no labels: for distillation
_base_ = ['./cityscapes_images_1024x1024.py']
data_root = 'work_dirs/demo/streets'
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='RandomResize', scale=(384, 192), ratio_range=(1.0, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(192, 384)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=4, num_workers=1, dataset=dict(data_root=data_root, pipeline=train_pipeline))
