# ade20k_512_linear-vit-large.py with the linear ViT-L that ViT-AdaLA made of SigLIP-L
_base_ = ['./ade20k_512_linear-vit-large.py']
model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        model_name='vit_large_patch16_siglip_384.webli',
        init_cfg=dict(checkpoint='work_dirs/adala-feature_siglip-large_in1k/student.pth')))
