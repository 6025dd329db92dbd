# Cityscapes: UPerNet with a narrower pyramid and head on a distilled Adventurer-T, 1024x1024 crops
# Published: nothing on Cityscapes; as cityscapes_1024.py.
# Ours: the size, the pyramid of 64 channels and the head of 48.
_base_ = ['./cityscapes_1024.py']
model = dict(
    backbone=dict(
        arch='tiny',
        init_cfg=dict(checkpoint='work_dirs/linearizer_adventurer-tiny_in1k-224/student.pth')),
    neck=dict(in_channels=256, out_channels=64),
    decode_head=dict(in_channels=[64, 64, 64, 64], channels=48),
    auxiliary_head=dict(in_channels=64, channels=64))
