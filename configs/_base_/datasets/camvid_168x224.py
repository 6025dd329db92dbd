# as camvid_120x160.py at 168x224, which patches of 14 pixels divide
_base_ = ['./camvid_120x160.py']
crop_size = (168, 224)
load_labels = dict(type='mmvitlin.LoadSegLabels', num_classes=11, void_labels=[11])
train_pipeline = [
    dict(type='mmvitlin.LoadImage', keep_in_memory=True),
    dict(**load_labels, keep_in_memory=True),
    dict(type='RandomResize', scale=(224, 168), ratio_range=(1.0, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='Resize', scale=(224, 168), keep_ratio=True),
    load_labels,
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
