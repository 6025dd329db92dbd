# A baseline: the small ViT's class probabilities into the small Adventurer, backbone and head, on
# CIFAR-10's images
_base_ = [
    '../_base_/models/logits_adventurer-pico_cifar10.py',
    '../_base_/datasets/cifar10_images.py', '../_base_/schedules/adamw_small.py',
    '../_base_/runtime_distill_cls.py'
]
log_processor = dict(by_epoch=False)
optim_wrapper = dict(optimizer=dict(lr=1e-2))  # see ../recipes/cifar10_rates.py
