# attention alignment alone, for as many iterations as both stages together
_base_ = [
    '../_base_/models/adala_vit-nano.py', '../_base_/datasets/camvid_images_120x160.py',
    '../_base_/schedules/adamw_600.py', '../_base_/runtime_distill.py'
]
model = dict(teacher=dict(checkpoint='work_dirs/camvid_vit-nano/iter_2000.pth'))
optim_wrapper = dict(optimizer=dict(lr=1e-2))
