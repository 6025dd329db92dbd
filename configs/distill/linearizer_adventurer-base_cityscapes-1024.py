# ViT-Linearizer on Cityscapes' images at 1024x1024: CLIP ViT-B/16 into Adventurer-B. 4096 tokens,
# 1024 of them visible; with scope='all' or larger crops the loss switches to its linear form, which
# builds no map. Starts from the student of ImageNet, positions stretched; from random weights:
# --cfg-options model.backbone.init_cfg=None
# Published: the losses are those of linearizer_adventurer-base_in1k-224.py; dense distillation is
#   not.
# Ours: images and size of the task that follows, 80k steps of 16, rate 2e-4, the start from
#   ImageNet's student: a student should know the images and the length of its scans before labels
#   come.
_base_ = [
    '../_base_/models/linearizer_adventurer-base.py',
    '../_base_/datasets/cityscapes_images_1024x1024.py', '../_base_/schedules/distill_80k.py',
    '../_base_/runtime_distill.py'
]
model = dict(
    backbone=dict(
        img_size=(1024, 1024),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')))
