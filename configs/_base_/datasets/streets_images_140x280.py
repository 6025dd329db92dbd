# the images of the built-in street scenes at 140x280, no labels: for distillation
_base_ = ['./streets_images_256x512.py']
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='RandomResize', scale=(280, 140), ratio_range=(1.0, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(140, 280)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
