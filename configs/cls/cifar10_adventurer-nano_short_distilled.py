# the student from its distilled checkpoint, as the ablation trains it
_base_ = ['./cifar10_adventurer-nano_short.py']
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-nano_cifar10_short/student.pth',
            prefix='backbone.')))
