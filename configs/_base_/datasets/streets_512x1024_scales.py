# The built-in street scenes, drawn at 512x1024: crops of that size from images at half to twice it,
# for networks that are to be used at any size and know the scenes already.
_base_ = ['./streets_512x1024.py']
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    {{_base_.load_labels}},
    dict(type='RandomResize', scale=(1024, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(512, 1024)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
