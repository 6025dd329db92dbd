# CamVid at 168x224: the pretrained ViT-S with softmax attention
_base_ = [
    '../_base_/models/conv1x1_vit-small.py', '../_base_/datasets/camvid_168x224.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_small.py'
]
model = dict(decode_head=dict(loss_decode=dict(class_weight={{_base_.class_weight}})))
optim_wrapper = dict(
    optimizer=dict(lr=3e-4),
    constructor='mmvitlin.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.85))
max_iters = 300
param_scheduler = [
    dict(_base_.param_scheduler[0], end=30),
    dict(_base_.param_scheduler[1], begin=30, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
