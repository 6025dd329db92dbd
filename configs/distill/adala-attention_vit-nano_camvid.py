# ViT-AdaLA, stage 1: attention alignment of the small ViT on CamVid's images
_base_ = [
    '../_base_/models/adala_vit-nano.py', '../_base_/datasets/camvid_images_120x160.py',
    '../_base_/schedules/adamw_small.py', '../_base_/runtime_distill.py'
]
model = dict(teacher=dict(checkpoint='work_dirs/fcn_vit-nano_camvid/iter_400.pth'))
# of 1e-3, 3e-3 and 1e-2 the rate with the lowest loss after 200 iterations, as the others' are
optim_wrapper = dict(optimizer=dict(lr=1e-2))
