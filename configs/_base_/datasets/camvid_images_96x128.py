# the images of CamVid's training split, no labels, at the size of camvid_96x128.py
_base_ = ['./camvid_images_120x160.py']
crop_size = (96, 128)
train_pipeline = [
    dict(type='mmvitlin.LoadImage', keep_in_memory=True),
    dict(type='RandomResize', scale=(128, 96), ratio_range=(1.0, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
