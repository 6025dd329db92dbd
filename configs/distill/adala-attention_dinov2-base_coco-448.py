# ViT-AdaLA, stage 1: attention alignment of DINOv2-B on COCO's images; no published base size
# Published: nothing of this size; as adala-attention_dinov2-large_coco-448.py.
# Ours: the base size; rate, decay and length are those of ViT-L.
_base_ = [
    '../_base_/models/adala_dinov2-base.py', '../_base_/datasets/coco_images_448.py',
    '../_base_/schedules/align_attention_10e.py', '../_base_/runtime_distill_cls.py'
]
model = dict(
    objectives=dict(attention=dict(type='mmvitlin.AttentionAlignmentLoss', relative=True)))
