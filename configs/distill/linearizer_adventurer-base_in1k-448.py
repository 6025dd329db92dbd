# ViT-Linearizer on ImageNet's images at 448x448: CLIP ViT-B/16 into Adventurer-B. Four times the
# tokens of 224; the teacher's positions are interpolated.
# Published: ViT-Linearizer (arXiv 2504.00037) has the student at 448x448.
# Ours: as linearizer_adventurer-base_in1k-224.py; 448x448 all the way, where a student of 224 could
#   be trained further.
_base_ = [
    '../_base_/models/linearizer_adventurer-base.py', '../_base_/datasets/imagenet_images_448.py',
    '../_base_/schedules/distill_100e.py', '../_base_/runtime_distill_cls.py'
]
model = dict(backbone=dict(img_size=448))
