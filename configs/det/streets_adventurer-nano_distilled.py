# the built-in streets: streets_adventurer-nano.py from its distilled checkpoint
_base_ = ['./streets_adventurer-nano.py']
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-nano_streets-512/student.pth',
            prefix='backbone.')))
