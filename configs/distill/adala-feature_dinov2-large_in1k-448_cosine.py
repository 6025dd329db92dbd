# ViT-AdaLA, stage 2, with the loss of IronViT: cosine of class and patch tokens, smooth L1 of
# patches; DINOv2-L on ImageNet's images
# Published: the loss of IronViT's second stage: cosine of the class token, 0.9 cosine and 0.1
#   smooth L1 (beta 1e-3) of patches; rate and decay.
# Ours: the images and their size, 20 epochs; as adala-feature_dinov2-large_in1k-448.py otherwise.
_base_ = [
    '../_base_/models/adala_dinov2-large.py', '../_base_/datasets/imagenet_images_448.py',
    '../_base_/schedules/align_features_20e.py', '../_base_/runtime_distill_cls.py'
]
model = dict(
    type='mmvitlin.FeatureAlignment',
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-attention_dinov2-large_coco-448/student.pth',
            prefix='backbone.')),
    objectives=dict(
        cls=dict(type='mmvitlin.FeatureAlignmentLoss', distance='cosine', tokens='cls'),
        patches=dict(type='mmvitlin.FeatureAlignmentLoss', distance='cosine', tokens='patches',
                     loss_weight=0.9),
        size=dict(type='mmvitlin.FeatureAlignmentLoss', distance='smooth_l1', tokens='patches',
                  beta=1e-3, loss_weight=0.1)))
