# the control: no alignment, labels for as many iterations as alignment and fine-tuning together
_base_ = [
    '../_base_/models/fcn_linear-vit-nano.py', '../_base_/datasets/camvid_120x160.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_1000.py'
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/camvid_vit-nano/iter_2000.pth',
            prefix='backbone.')),
    decode_head=dict(loss_decode=dict(class_weight={{_base_.class_weight}})))
