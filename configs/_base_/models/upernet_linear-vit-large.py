# UPerNet on a SimpleFPN over four depths of a linear ViT-L (DINOv2's, 16-pixel patches)
_base_ = ['./upernet_adventurer-base.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_large_patch14_dinov2.lvd142m',
        attention='linear',
        img_size=(1024, 1024),
        model_kwargs=dict(patch_size=16),
        out_indices=(5, 11, 17, 23),
        drop_path_rate=0.3),
    neck=dict(in_channels=1024),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024]),
    auxiliary_head=dict(in_channels=1024))
