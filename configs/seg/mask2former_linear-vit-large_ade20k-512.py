# ADE20K: Mask2Former on the linear ViT-L that ViT-AdaLA made of DINOv2-L, 512x512 crops; needs make
# setup-full
# Published: ViT-AdaLA (arXiv 2603.16063) reports DINOv2-L on ADE20K at 512x512; head and schedule
#   are Mask2Former (arXiv 2112.01527)'s.
# Ours: that this head is on ADE20K too, with patches of 16 pixels, SimpleFPN and drop path 0.3;
#   whole images in the test.
_base_ = ['./mask2former_adventurer-base_ade20k-512.py', '../_base_/models/vit_backbones.py']
model = dict(
    backbone=dict(
        _delete_=True,
        **_base_.linear_vit_large,
        img_size=(512, 512),
        out_indices=(5, 11, 17, 23),
        drop_path_rate=0.3),
    neck=dict(in_channels=1024),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024]),
    test_cfg=dict(_delete_=True, mode='whole'))
