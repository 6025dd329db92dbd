# as linearizer_adventurer-nano_cifar10.py, 400 iterations: the budget of the ablation
_base_ = [
    '../_base_/models/linearizer_adventurer-nano_cifar10.py',
    '../_base_/datasets/cifar10_images.py', '../_base_/schedules/adamw_400.py',
    '../_base_/runtime_distill_cls.py'
]
log_processor = dict(by_epoch=False)
