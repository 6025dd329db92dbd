# imagenet_images_224.py at 448x448
_base_ = ['./imagenet_images_224.py']
train_pipeline = [
    dict(type='mmvitlin.LoadCrop', scale=448, flip_prob=0.5, draft=True),
    dict(type='mmvitlin.MatrixColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
    dict(type='mmvitlin.PackImage'),
]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
