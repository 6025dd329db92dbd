# the ablation's control: labels for as many iterations as its distillation and fine-tuning together
_base_ = [
    '../_base_/models/classifier_adventurer-nano.py', '../_base_/datasets/cifar10.py',
    '../_base_/runtime_cls.py', '../_base_/schedules/adamw_600.py'
]
log_processor = dict(by_epoch=False)
