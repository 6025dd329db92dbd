# cityscapes_1024.py with Adventurer-T
_base_ = ['./cityscapes_1024.py']
model = dict(
    backbone=dict(
        arch='tiny',
        init_cfg=dict(checkpoint='work_dirs/linearizer_adventurer-tiny_in1k-224/student.pth')),
    neck=dict(in_channels=256),
    decode_head=dict(in_channels=[256, 256, 256, 256]),
    auxiliary_head=dict(in_channels=256))
