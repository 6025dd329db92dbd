# ViT-AdaLA, stage 1: attention alignment of DINOv2-L on COCO's images
#   tools/dist_train.sh configs/distill/adala-attention_dinov2-large_coco-448.py 8 --amp
# then stage 2, adala-feature_dinov2-large_in1k-448.py, then a config of configs/seg or configs/cls
# Published: stage 1 of ViT-AdaLA (arXiv 2603.16063), method section: inherited weights, linear
#   attention, error of its outputs, queries, keys and values trained, on COCO's images; DINOv2-L is
#   one of its teachers.
# Ours: the feature map ELU + 1, which the paper does not name; the relative error, so that blocks
#   count alike under clipping; patches of 16 pixels, so that 1024x1024 is 64x64 of them, 448x448
#   and 10 epochs; the optimiser, see the schedule.
_base_ = [
    '../_base_/models/adala_dinov2-large.py', '../_base_/datasets/coco_images_448.py',
    '../_base_/schedules/align_attention_10e.py', '../_base_/runtime_distill_cls.py'
]
model = dict(
    objectives=dict(attention=dict(type='mmvitlin.AttentionAlignmentLoss', relative=True)))
