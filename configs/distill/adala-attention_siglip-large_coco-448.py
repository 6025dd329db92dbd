# ViT-AdaLA, stage 1: attention alignment of SigLIP-L on COCO's images
# Published: stage 1 of ViT-AdaLA (arXiv 2603.16063), method section: inherited weights, linear
#   attention, error of its outputs, queries, keys and values trained, on COCO's images; SigLIP-L is
#   one of its teachers.
# Ours: the feature map ELU + 1, which the paper does not name; the relative error, so that blocks
#   count alike under clipping; 448x448 and 10 epochs; the optimiser, see the schedule.
_base_ = [
    '../_base_/models/adala_siglip-large.py', '../_base_/datasets/coco_images_448.py',
    '../_base_/schedules/align_attention_10e.py', '../_base_/runtime_distill_cls.py'
]
model = dict(
    objectives=dict(attention=dict(type='mmvitlin.AttentionAlignmentLoss', relative=True)))
