# ViT-AdaLA, stage 1, of DINOv2-L into linear attention with a depthwise convolution on the values
# Published: the convolution on the values of linear attention: JetViT (CVPR 2026); stage 1 as in
#   adala-attention_dinov2-large_coco-448.py.
# Ours: the two together.
_base_ = [
    '../_base_/models/adala_dinov2-large.py', '../_base_/datasets/coco_images_448.py',
    '../_base_/schedules/align_attention_10e.py', '../_base_/runtime_distill_cls.py'
]
model = dict(
    backbone=dict(linear_cfg=dict(conv_kernel=3)),
    objectives=dict(attention=dict(type='mmvitlin.AttentionAlignmentLoss', relative=True)))
