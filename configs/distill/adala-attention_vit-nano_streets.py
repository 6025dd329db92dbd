# ViT-AdaLA on the built-in street scenes, stage 1: attention alignment, no labels
_base_ = [
    '../_base_/models/adala_vit-nano.py', '../_base_/datasets/streets_images_256x512.py',
    '../_base_/schedules/adamw_100.py', '../_base_/runtime_distill.py'
]
model = dict(
    backbone=dict(img_size=(192, 384), model_kwargs=dict(patch_size=16)),
    teacher=dict(
        backbone=dict(img_size=(192, 384), model_kwargs=dict(patch_size=16)),
        checkpoint='work_dirs/streets_vit-nano/iter_600.pth'))
optim_wrapper = dict(optimizer=dict(lr=1e-2))
