# ViT-AdaLA, stage 1: attention alignment of the small ViT on drawn streets
_base_ = [
    '../_base_/models/adala_vit-nano.py', '../_base_/datasets/streets_images_256x512.py',
    '../_base_/schedules/adamw_small.py', '../_base_/runtime_distill.py'
]
model = dict(
    backbone=dict(img_size=(192, 384), model_kwargs=dict(patch_size=16)),
    teacher=dict(
        backbone=dict(img_size=(192, 384), model_kwargs=dict(patch_size=16)),
        checkpoint='work_dirs/fcn_vit-nano_streets/iter_400.pth'))
optim_wrapper = dict(optimizer=dict(lr=1e-2))
