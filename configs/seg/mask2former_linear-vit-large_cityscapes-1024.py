# Cityscapes: Mask2Former on the linear ViT-L that ViT-AdaLA made of DINOv2-L, 1024x1024 crops;
# needs make setup-full
# Published: ViT-AdaLA (arXiv 2603.16063), table of Cityscapes: DINOv2-L with Mask2Former at
#   1024x1024; head and schedule are Mask2Former (arXiv 2112.01527)'s.
# Ours: patches of 16 pixels, SimpleFPN, drop path 0.3; crops of 1024x1024 and whole images in the
#   test.
_base_ = ['./mask2former_adventurer-base_cityscapes-1024.py', '../_base_/models/vit_backbones.py']
model = dict(
    backbone=dict(
        _delete_=True,
        **_base_.linear_vit_large,
        img_size=(1024, 1024),
        out_indices=(5, 11, 17, 23),
        drop_path_rate=0.3),
    neck=dict(in_channels=1024),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024]),
    test_cfg=dict(_delete_=True, mode='whole'))
