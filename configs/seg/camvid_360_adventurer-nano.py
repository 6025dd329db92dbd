# CamVid at full size: the distilled Adventurer of the small experiments, trained on across scales
_base_ = [
    '../_base_/models/fcn_adventurer-nano.py', '../_base_/datasets/camvid_360x480.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_400.py'
]
model = dict(data_preprocessor=dict(size=(240, 320)))
load_from = 'work_dirs/camvid_adventurer-nano_distilled/iter_400.pth'
optim_wrapper = dict(optimizer=dict(lr=5e-4))
