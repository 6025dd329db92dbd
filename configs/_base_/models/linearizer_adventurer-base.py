# ViT-Linearizer: frozen CLIP ViT-B/16 -> Adventurer-B; no labels are read
model = dict(
    type='mmvitlin.ViTLinearizer',
    data_preprocessor=dict(
        type='mmvitlin.ImagePreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(type='mmvitlin.Adventurer', arch='base', img_size=224, patch_size=16),
    teacher=dict(
        # without network: pretrained=False here and checkpoint='FILE' beside backbone
        backbone=dict(
            type='mmvitlin.TimmViT',
            model_name='vit_base_patch16_clip_quickgelu_224.openai',
            pretrained=True)),
    mask_ratio=0.75,
    objectives=dict(
        activation=dict(type='mmvitlin.ActivationMatchingLoss', num_stages=4, scope='visible'),
        mask=dict(type='mmvitlin.MaskedPredictionLoss', beta=1.0)))
