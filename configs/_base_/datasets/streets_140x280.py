# as streets_256x512.py at 140x280, which patches of 14 pixels divide
_base_ = ['./cityscapes_1024x1024.py']
data_root = 'work_dirs/demo/streets'
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    {{_base_.load_labels}},
    dict(type='RandomResize', scale=(280, 140), ratio_range=(1.0, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(140, 280)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='Resize', scale=(280, 140), keep_ratio=True),
    {{_base_.load_labels}},
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=4, num_workers=1, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=1, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
