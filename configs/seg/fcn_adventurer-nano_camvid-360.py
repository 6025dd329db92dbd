# CamVid at full size: the distilled Adventurer of fcn_adventurer-nano_camvid_distilled.py, trained
# on across scales
_base_ = [
    '../_base_/models/fcn_adventurer-nano.py', '../_base_/datasets/camvid_360x480.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_small.py'
]
model = dict(data_preprocessor=dict(size=(240, 320)))
load_from = 'work_dirs/fcn_adventurer-nano_camvid_distilled/iter_400.pth'
optim_wrapper = dict(optimizer=dict(lr=5e-4))
