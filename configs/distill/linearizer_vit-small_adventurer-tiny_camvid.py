# ViT-Linearizer on images of CamVid and of anything: the pretrained ViT-S into Adventurer-T
_base_ = [
    '../_base_/models/linearizer_vit-small_adventurer-tiny.py',
    '../_base_/datasets/camvid_images_168x224.py', '../_base_/schedules/adamw_small.py',
    '../_base_/runtime_distill.py'
]
model = dict(teacher=dict(cache='work_dirs/teacher_cache'))
max_iters = 500
param_scheduler = [
    dict(_base_.param_scheduler[0], end=50),
    dict(_base_.param_scheduler[1], begin=50, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
