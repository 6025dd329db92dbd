# ViT-AdaLA, stage 1: attention alignment of CLIP-L on COCO's images
_base_ = [
    '../_base_/models/adala_clip-large.py', '../_base_/datasets/coco_images_448.py',
    '../_base_/schedules/align_attention_10e.py', '../_base_/runtime_distill_cls.py'
]
