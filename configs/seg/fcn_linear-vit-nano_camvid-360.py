# CamVid at full size: the aligned linear ViT of fcn_linear-vit-nano_camvid.py, trained on across
# scales
_base_ = [
    '../_base_/models/fcn_vit-nano.py', '../_base_/datasets/camvid_360x480.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_small.py'
]
model = dict(data_preprocessor=dict(size=(240, 320)), backbone=dict(attention='linear'))
load_from = 'work_dirs/fcn_linear-vit-nano_camvid/iter_400.pth'
optim_wrapper = dict(optimizer=dict(lr=5e-4))
