# ViT-Linearizer on CamVid's images: small ViT into small Adventurer
_base_ = [
    '../_base_/models/linearizer_adventurer-nano.py',
    '../_base_/datasets/camvid_images_120x160.py', '../_base_/schedules/adamw_small.py',
    '../_base_/runtime_distill.py'
]
model = dict(teacher=dict(checkpoint='work_dirs/fcn_vit-nano_camvid/iter_400.pth'))
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/camvid_rates.py
