# CamVid: a small ViT with linear attention, from the last stage of ViT-AdaLA
_base_ = [
    '../_base_/models/fcn_vit-nano.py', '../_base_/datasets/camvid_120x160.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_small.py'
]
model = dict(
    backbone=dict(
        attention='linear',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-feature_vit-nano_camvid/student.pth',
            prefix='backbone.')),
    decode_head=dict(loss_decode=dict(class_weight={{_base_.class_weight}})))
