# ADE20K: UPerNet on the linear ViT-L that ViT-AdaLA made of DINOv2-L, 512x512 crops
# Published: ViT-AdaLA (arXiv 2603.16063), table of ADE20K: DINOv2-L, crops of 512x512.
# Ours: UPerNet, its steps, rate and decay, as in upernet_adventurer-base_ade20k-512.py; drop path
#   0.3; mask2former_linear-vit-large_ade20k-512.py has the other head.
_base_ = ['./upernet_adventurer-base_ade20k-512.py', '../_base_/models/vit_backbones.py']
model = dict(
    backbone=dict(
        _delete_=True,
        **_base_.linear_vit_large,
        img_size=(512, 512),
        out_indices=(5, 11, 17, 23),
        drop_path_rate=0.3),
    neck=dict(in_channels=1024),
    test_cfg=dict(_delete_=True, mode='whole'))
