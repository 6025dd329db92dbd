# imagenet_224.py at 448x448; tests see the whole shorter side (crop ratio 1.0), as Adventurer's do
# with larger images or smaller patches
_base_ = ['./imagenet_224.py']
train_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='RandomResizedCrop', scale=448, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic')),  # the mean, BGR
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='mmvitlin.LoadImage'),
    dict(type='ResizeEdge', scale=448, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=448),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=32, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
