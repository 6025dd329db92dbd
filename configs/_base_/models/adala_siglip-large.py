# ViT-AdaLA: SigLIP ViT-L/16 -> the same network with linear attention
_base_ = ['./adala_dinov2-large.py']
model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(model_name='vit_large_patch16_siglip_384.webli'),
    teacher=dict(backbone=dict(model_name='vit_large_patch16_siglip_384.webli')))
