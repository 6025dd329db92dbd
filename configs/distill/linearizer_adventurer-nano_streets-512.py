# ViT-Linearizer on drawn streets at 512x1024, across scales: small ViT into small Adventurer
_base_ = [
    '../_base_/models/linearizer_adventurer-nano.py',
    '../_base_/datasets/streets_images_512x1024.py', '../_base_/schedules/adamw_small.py',
    '../_base_/runtime_distill.py'
]
model = dict(
    backbone=dict(img_size=(256, 512), patch_size=16),
    teacher=dict(
        backbone=dict(img_size=(256, 512), model_kwargs=dict(patch_size=16)),
        checkpoint='work_dirs/fcn_vit-nano_streets-512/iter_400.pth'))
