# as linearizer_adventurer-nano_camvid.py, 400 iterations: the budget of the ablation
_base_ = [
    '../_base_/models/linearizer_adventurer-nano.py',
    '../_base_/datasets/camvid_images_120x160.py', '../_base_/schedules/adamw_400.py',
    '../_base_/runtime_distill.py'
]
model = dict(teacher=dict(checkpoint='work_dirs/camvid_vit-nano/iter_2000.pth'))
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/camvid_rates.py
