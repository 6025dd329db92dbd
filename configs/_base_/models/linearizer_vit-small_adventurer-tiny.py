# ViT-Linearizer: the pretrained ViT-S/14 (saliency) -> Adventurer-T with the teacher's patches
model = dict(
    type='mmvitlin.ViTLinearizer',
    data_preprocessor=dict(
        type='mmengine.ImgDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(type='mmvitlin.Adventurer', arch='tiny', img_size=(168, 224), patch_size=14),
    teacher=dict(
        checkpoint='mmvitlin::vit-small-14_saliency',
        backbone=dict(type='mmvitlin.TimmViT', model_name='vit_small_patch14_dinov2')),
    mask_ratio=0.75,
    objectives=dict(
        activation=dict(type='mmvitlin.ActivationMatchingLoss', num_stages=4, scope='visible'),
        mask=dict(type='mmvitlin.MaskedPredictionLoss')))
