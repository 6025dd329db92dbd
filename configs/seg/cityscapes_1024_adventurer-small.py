# cityscapes_1024.py with Adventurer-S
_base_ = ['./cityscapes_1024.py']
model = dict(
    backbone=dict(
        arch='small',
        init_cfg=dict(checkpoint='work_dirs/linearizer_adventurer-small_in1k-224/student.pth')),
    neck=dict(in_channels=512),
    decode_head=dict(in_channels=[512, 512, 512, 512]),
    auxiliary_head=dict(in_channels=512))
