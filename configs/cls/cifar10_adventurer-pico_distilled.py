# CIFAR-10: the small Adventurer from its distilled checkpoint
_base_ = ['./cifar10_adventurer-pico.py']
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-pico_cifar10/student.pth',
            prefix='backbone.')))
optim_wrapper = dict(optimizer=dict(lr=1e-3))  # see ../recipes/cifar10_rates.py
