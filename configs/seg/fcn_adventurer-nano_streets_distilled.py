# Drawn streets: the small Adventurer from the student of linearizer_adventurer-nano_streets.py
_base_ = ['./fcn_adventurer-nano_streets.py']
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-nano_streets/student.pth',
            prefix='backbone.')))
