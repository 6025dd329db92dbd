# ADE20K: UPerNet on a distilled Adventurer-B, 640x640 crops. Tests see windows of the size of the
# crops; whole images: --cfg-options model.test_cfg.mode=whole
# Published: as upernet_adventurer-base_ade20k-512.py.
# Ours: images and crops of 640.
_base_ = ['./upernet_adventurer-base_ade20k-512.py']
crop_size = (640, 640)
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    {{_base_.load_labels}},
    dict(type='RandomResize', scale=(2560, 640), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='Resize', scale=(2560, 640), keep_ratio=True),
    {{_base_.load_labels}},
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(img_size=crop_size),
    test_cfg=dict(crop_size=crop_size, stride=(426, 426)))
