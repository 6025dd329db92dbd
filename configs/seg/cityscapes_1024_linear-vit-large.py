# Cityscapes: UPerNet on the linear ViT-L that ViT-AdaLA made of DINOv2-L, 1024x1024 crops
_base_ = [
    '../_base_/models/upernet_linear-vit-large.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_80k.py'
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-feature_dinov2-large_in1k/student.pth',
            prefix='backbone.')))
