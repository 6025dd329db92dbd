# UPerNet on a SimpleFPN over four depths of the linear ViT-L that ViT-AdaLA made of DINOv2-L
_base_ = ['./upernet_adventurer-base.py', './vit_backbones.py']
model = dict(
    backbone=dict(
        _delete_=True,
        **_base_.linear_vit_large,
        img_size=(1024, 1024),
        out_indices=(5, 11, 17, 23),
        drop_path_rate=0.3),
    neck=dict(in_channels=1024))
