# The built-in street scenes, drawn at 512x1024 by tools/make_streets.py and trained across scales:
# crops of 256x512 from images at half to their whole size.
_base_ = ['./cityscapes_1024x1024.py']
data_root = 'data/streets'
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    {{_base_.load_labels}},
    dict(type='RandomResize', scale=(1024, 512), ratio_range=(0.5, 1.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(256, 512)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='Resize', scale=(1024, 512), keep_ratio=True),
    {{_base_.load_labels}},
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=4, num_workers=1, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=1, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
