# ADE20K: UPerNet on the linear ViT-L that ViT-AdaLA made of DINOv2-L, 512x512 crops
_base_ = [
    '../_base_/models/upernet_linear-vit-large.py', '../_base_/datasets/ade20k_512x512.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_160k.py'
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        img_size=(512, 512),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-feature_dinov2-large_in1k/student.pth',
            prefix='backbone.')),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150))
