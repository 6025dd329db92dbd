# CIFAR-10: the small Adventurer from the student of linearizer_adventurer-pico_cifar10.py
_base_ = ['./adventurer-pico_cifar10.py']
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-pico_cifar10/student.pth',
            prefix='backbone.')))
optim_wrapper = dict(optimizer=dict(lr=1e-3))  # see ../recipes/cifar10_rates.py
