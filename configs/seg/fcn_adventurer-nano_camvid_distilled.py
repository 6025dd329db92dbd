# CamVid: the small Adventurer from the student of linearizer_adventurer-nano_camvid.py
_base_ = ['./fcn_adventurer-nano_camvid.py']
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-nano_camvid/student.pth',
            prefix='backbone.')))
