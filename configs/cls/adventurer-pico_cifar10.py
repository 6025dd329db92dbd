# CIFAR-10: a small Adventurer from scratch
_base_ = [
    '../_base_/models/classifier_adventurer-pico.py', '../_base_/datasets/cifar10.py',
    '../_base_/runtime_cls.py', '../_base_/schedules/adamw_small.py'
]
log_processor = dict(by_epoch=False)
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/cifar10_rates.py
