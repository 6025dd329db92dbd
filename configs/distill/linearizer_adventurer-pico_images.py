# ViT-Linearizer on a flat folder of images of anything, teacher and student of
# linearizer_adventurer-pico_camvid.py
_base_ = ['linearizer_adventurer-pico_camvid.py']
data_root = 'data/images'
train_pipeline = [
    dict(type='mmvitlin.LoadImage', keep_in_memory=True),
    dict(type='mmpretrain.ResizeEdge', scale=128, edge='short'),
    dict(type='RandomCrop', crop_size=(96, 128)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain.CustomDataset',
        data_root=data_root,
        with_label=False,
        pipeline=train_pipeline))
