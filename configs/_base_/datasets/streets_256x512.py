# the built-in street scenes, drawn at 256x512 by tools/make_streets.py, whole at 192x384: crops do
# not tell a small network what it sees. Labels keep 256x512.
_base_ = ['./cityscapes_1024x1024.py']
data_root = 'work_dirs/demo/streets'
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    {{_base_.load_labels}},
    dict(type='RandomResize', scale=(384, 192), ratio_range=(1.0, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(192, 384)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='Resize', scale=(384, 192), keep_ratio=True),
    {{_base_.load_labels}},
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=4, num_workers=1, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=1, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
