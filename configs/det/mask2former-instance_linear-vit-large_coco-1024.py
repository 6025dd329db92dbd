# COCO: Mask2Former for instances on the linear ViT-L that ViT-AdaLA made of DINOv2-L
# Published: as mask2former-instance_adventurer-base_coco-1024.py.
# Ours: the linear ViT-L as backbone, drop path 0.4; all else as there.
_base_ = [
    '../_base_/models/mask2former-instance_adventurer-base.py',
    '../_base_/models/vit_backbones.py', '../_base_/datasets/coco_instances_1024.py',
    '../_base_/runtime_det.py', '../_base_/schedules/mask2former_50e.py'
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
default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP', rule='greater'))
