# ViT-AdaLA, stage 1, of DINOv2-L into linear attention but in two blocks, which keep softmax
# Published: a few softmax blocks kept: JetViT (CVPR 2026); stage 1 as in
#   adala-attention_dinov2-large_coco-448.py.
# Ours: the two together.
_base_ = [
    '../_base_/models/adala_dinov2-large.py', '../_base_/datasets/coco_images_448.py',
    '../_base_/schedules/align_attention_10e.py', '../_base_/runtime_distill_cls.py'
]
model = dict(
    backbone=dict(softmax_layers=(11, 23)),
    objectives=dict(attention=dict(type='mmvitlin.AttentionAlignmentLoss', relative=True)))
