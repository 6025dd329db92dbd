# as cifar10_adventurer-nano.py, 200 iterations: the budget of the ablation
_base_ = [
    '../_base_/models/classifier_adventurer-nano.py', '../_base_/datasets/cifar10.py',
    '../_base_/runtime_cls.py', '../_base_/schedules/adamw_200.py'
]
log_processor = dict(by_epoch=False)
