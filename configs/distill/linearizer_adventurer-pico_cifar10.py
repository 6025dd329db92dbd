# ViT-Linearizer on CIFAR-10's training images, no labels: small ViT -> small Adventurer
_base_ = [
    '../_base_/models/linearizer_adventurer-pico_cifar10.py',
    '../_base_/datasets/cifar10_images.py', '../_base_/schedules/adamw_1000.py',
    '../_base_/runtime_distill_cls.py'
]
log_processor = dict(by_epoch=False)
optim_wrapper = dict(optimizer=dict(lr=1e-2))  # see ../recipes/cifar10_rates.py
