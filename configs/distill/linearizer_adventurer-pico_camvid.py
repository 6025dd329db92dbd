# ViT-Linearizer on CamVid's training images, no labels, between networks of 0.2 and 0.3 M
# parameters
_base_ = [
    '../_base_/models/linearizer_adventurer-pico.py',
    '../_base_/datasets/camvid_images_96x128.py', '../_base_/schedules/adamw_1000.py',
    '../_base_/runtime_distill.py'
]
model = dict(teacher=dict(checkpoint='work_dirs/camvid_vit-pico/iter_2000.pth'))
optim_wrapper = dict(optimizer=dict(lr=1e-2))  # a third of it and a tenth are worse
