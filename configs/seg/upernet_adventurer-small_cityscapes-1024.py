# Cityscapes: UPerNet with a narrower head on a distilled Adventurer-S, 1024x1024 crops
# Published: nothing on Cityscapes; as cityscapes_1024.py.
# Ours: the size, and the head of 96 channels.
_base_ = ['./cityscapes_1024.py']
model = dict(
    backbone=dict(
        arch='small',
        init_cfg=dict(checkpoint='work_dirs/linearizer_adventurer-small_in1k-224/student.pth')),
    neck=dict(in_channels=512),
    decode_head=dict(channels=96))
