# ViT-AdaLA, stage 1: attention alignment of DINOv2-L on COCO's images
#   tools/dist_train.sh configs/distill/adala-attention_dinov2-large_coco.py 8 --amp
# then stage 2, adala-feature_dinov2-large_in1k.py, then a config of configs/seg or configs/cls
_base_ = [
    '../_base_/models/adala_dinov2-large.py', '../_base_/datasets/coco_images_448.py',
    '../_base_/schedules/align_attention_10e.py', '../_base_/runtime_distill_cls.py'
]
