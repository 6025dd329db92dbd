# ViT-AdaLA, stage 2, of DINOv2-L into linear attention but in two blocks, which keep softmax
# Published: a few softmax blocks kept: JetViT (CVPR 2026); stage 2 as in
#   adala-feature_dinov2-large_in1k-448.py.
# Ours: the two together.
_base_ = [
    '../_base_/models/adala_dinov2-large.py', '../_base_/datasets/imagenet_images_448.py',
    '../_base_/schedules/align_features_20e.py', '../_base_/runtime_distill_cls.py'
]
model = dict(
    type='mmvitlin.FeatureAlignment',
    backbone=dict(
        softmax_layers=(11, 23),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-attention_hybrid-dinov2-large_coco-448/student.pth',
            prefix='backbone.')))
