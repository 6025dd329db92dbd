# Drawn streets: a small Mask R-CNN on the student of linearizer_adventurer-nano_streets-512.py
_base_ = ['./mask-rcnn_adventurer-nano_streets-512.py']
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-nano_streets-512/student.pth',
            prefix='backbone.')))
