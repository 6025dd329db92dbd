# at 448x448: four times the tokens; the teacher's positions are interpolated
_base_ = [
    '../_base_/models/linearizer_adventurer-base.py', '../_base_/datasets/imagenet_images_448.py',
    '../_base_/schedules/distill_100e.py', '../_base_/runtime_distill_cls.py'
]
model = dict(backbone=dict(img_size=448))
