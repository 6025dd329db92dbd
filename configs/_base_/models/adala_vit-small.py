# ViT-AdaLA: the pretrained ViT-S/14 (saliency) with softmax attention -> the same network with
# linear attention
model = dict(
    type='mmvitlin.AttentionAlignment',
    data_preprocessor=dict(
        type='mmengine.ImgDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        type='mmvitlin.TimmViT',
        model_name='vit_small_patch14_dinov2',
        attention='linear',
        linear_cfg=dict(feature_map='hedgehog')),
    teacher=dict(
        checkpoint='mmvitlin::vit-small-14_saliency',
        backbone=dict(type='mmvitlin.TimmViT', model_name='vit_small_patch14_dinov2')))
