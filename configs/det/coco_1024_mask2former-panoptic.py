# COCO at 1024x1024: Mask2Former for things and stuff on a distilled Adventurer-B
_base_ = [
    '../_base_/models/mask2former-panoptic_adventurer-base.py',
    '../_base_/datasets/coco_panoptic_1024.py', '../_base_/runtime_det.py',
    '../_base_/schedules/mask2former_50e.py'
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')))
default_hooks = dict(checkpoint=dict(save_best='panoptic/PQ', rule='greater'))
