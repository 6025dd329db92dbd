# a switch: segmentation or detection with the linear ViT-L that ViT-AdaLA made of SigLIP-L
# (configs/distill/adala-feature_siglip-large_in1k-448.py) instead of DINOv2-L's
model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        model_name='vit_large_patch16_siglip_384.webli',
        init_cfg=dict(checkpoint='work_dirs/adala-feature_siglip-large_in1k-448/student.pth')))
