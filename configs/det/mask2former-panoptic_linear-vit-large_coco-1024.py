# COCO: Mask2Former for things and stuff on the linear ViT-L that ViT-AdaLA made of DINOv2-L
# Published: as mask2former-panoptic_adventurer-base_coco-1024.py.
# Ours: the linear ViT-L as backbone, drop path 0.4; all else as there.
_base_ = [
    './mask2former-panoptic_adventurer-base_coco-1024.py', '../_base_/models/vit_backbones.py'
]
model = dict(
    backbone=dict(
        _delete_=True,
        **_base_.linear_vit_large,
        img_size=(1024, 1024),
        out_indices=(5, 11, 17, 23),
        drop_path_rate=0.4),
    neck=dict(in_channels=1024),
    panoptic_head=dict(in_channels=[1024, 1024, 1024, 1024]))
