# ViT-AdaLA, stage 2, from the pretrained ViT-S, on images of CamVid and of anything
_base_ = [
    '../_base_/models/adala_vit-small.py', '../_base_/datasets/camvid_images_168x224.py',
    '../_base_/schedules/adamw_small.py', '../_base_/runtime_distill.py'
]
model = dict(
    type='mmvitlin.FeatureAlignment',
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-attention_vit-small_camvid/student.pth',
            prefix='backbone.')),
    teacher=dict(cache='work_dirs/teacher_cache'))
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=0.01))
train_dataloader = dict(sampler=dict(salt=2))  # other batches than stage 1
max_iters = 600
param_scheduler = [
    dict(_base_.param_scheduler[0], end=60),
    dict(_base_.param_scheduler[1], begin=60, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
