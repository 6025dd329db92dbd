# The ViTs that several heads take. A config has this file among its bases and spreads one of them:
#   backbone=dict(_delete_=True, **_base_.linear_vit_large, img_size=(1024, 1024))
# DINOv2-L that ViT-AdaLA made linear, with patches of 16 pixels
linear_vit_large = dict(
    type='mmvitlin.TimmViT',
    model_name='vit_large_patch14_dinov2.lvd142m',
    attention='linear',
    model_kwargs=dict(patch_size=16),
    init_cfg=dict(
        type='Pretrained',
        checkpoint='work_dirs/adala-feature_dinov2-large_in1k-448/student.pth',
        prefix='backbone.'))
# CLIP ViT-B/16 with softmax attention, and how its images are normalised
clip_vit_base = dict(
    type='mmvitlin.TimmViT',
    model_name='vit_base_patch16_clip_quickgelu_224.openai',
    pretrained=True,
    drop_path_rate=0.1)
clip_normalization = dict(mean=[122.7709, 116.7460, 104.0937], std=[68.5005, 66.6322, 70.3232])
