# ViT-AdaLA: CLIP ViT-L/14 -> the same network with linear attention on 16-pixel patches
_base_ = ['./adala_dinov2-large.py']
model = dict(
    data_preprocessor=dict(
        mean=[122.7709, 116.7460, 104.0937], std=[68.5005, 66.6322, 70.3232]),
    backbone=dict(model_name='vit_large_patch14_clip_quickgelu_336.openai'),
    teacher=dict(backbone=dict(model_name='vit_large_patch14_clip_quickgelu_336.openai')))
