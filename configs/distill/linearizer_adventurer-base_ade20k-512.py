# dense distillation on ADE20K's images at 512x512
_base_ = [
    '../_base_/models/linearizer_adventurer-base.py',
    '../_base_/datasets/ade20k_images_512x512.py', '../_base_/schedules/distill_80k.py',
    '../_base_/runtime_distill.py'
]
model = dict(backbone=dict(img_size=(512, 512)))
