# CamVid at 168x224: Adventurer-T, distilled from the pretrained ViT-S
_base_ = [
    '../_base_/models/conv1x1_adventurer-tiny.py', '../_base_/datasets/camvid_168x224.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_small.py'
]
model = dict(decode_head=dict(loss_decode=dict(class_weight={{_base_.class_weight}})))
max_iters = 300
param_scheduler = [
    dict(_base_.param_scheduler[0], end=30),
    dict(_base_.param_scheduler[1], begin=30, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
