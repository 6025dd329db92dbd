# ViT-AdaLA: DINOv2 ViT-L/14 with softmax attention -> the same network with linear attention.
# The student's patches are 16 pixels (the patch embedding is resampled), the teacher sees the
# image scaled by 14/16, so both have the same tokens and 1024x1024 is 64x64 of them.
model = dict(
    type='mmvitlin.AttentionAlignment',
    data_preprocessor=dict(
        type='mmvitlin.ImagePreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        type='mmvitlin.TimmViT',
        model_name='vit_large_patch14_dinov2.lvd142m',
        attention='linear',
        img_size=448,
        model_kwargs=dict(patch_size=16)),
    teacher=dict(
        # without network: pretrained=False here and checkpoint='FILE' beside backbone
        backbone=dict(
            type='mmvitlin.TimmViT',
            model_name='vit_large_patch14_dinov2.lvd142m',
            pretrained=True)))
