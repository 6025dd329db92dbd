# ViT-AdaLA on the small ViT of fcn_vit-nano.py
model = dict(
    type='mmvitlin.AttentionAlignment',
    data_preprocessor=dict(
        type='mmvitlin.ImagePreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        attention='linear',
        img_size=(120, 160),
        model_kwargs=dict(patch_size=8, embed_dim=128, depth=8, num_heads=2)),
    teacher=dict(
        mean=[123.675, 116.28, 103.53],  # as it was trained with
        std=[58.395, 57.12, 57.375],
        backbone=dict(
            type='mmvitlin.TimmViT',
            model_name='vit_tiny_patch16_224',
            img_size=(120, 160),
            model_kwargs=dict(patch_size=8, embed_dim=128, depth=8, num_heads=2))))
