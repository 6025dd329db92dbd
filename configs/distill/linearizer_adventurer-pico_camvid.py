# ViT-Linearizer on CamVid's images: a ViT of 0.2 M parameters into an Adventurer of 0.3 M
_base_ = [
    '../_base_/models/linearizer_adventurer-pico.py',
    '../_base_/datasets/camvid_images_96x128.py', '../_base_/schedules/adamw_small.py',
    '../_base_/runtime_distill.py'
]
model = dict(teacher=dict(checkpoint='work_dirs/fcn_vit-pico_camvid/iter_400.pth'))
optim_wrapper = dict(optimizer=dict(lr=1e-2))  # a third of it and a tenth are worse
