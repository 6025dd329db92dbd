# ViT-AdaLA: DINOv2 ViT-B/14 with registers -> the same network with linear attention
_base_ = ['./adala_dinov2-large.py']
model = dict(
    backbone=dict(model_name='vit_base_patch14_reg4_dinov2.lvd142m'),
    teacher=dict(backbone=dict(model_name='vit_base_patch14_reg4_dinov2.lvd142m')))
