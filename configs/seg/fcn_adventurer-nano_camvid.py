# CamVid: a small Adventurer from scratch
_base_ = [
    '../_base_/models/fcn_adventurer-nano.py', '../_base_/datasets/camvid_120x160.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_small.py'
]
model = dict(decode_head=dict(loss_decode=dict(class_weight={{_base_.class_weight}})))
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/camvid_label_rates.py
