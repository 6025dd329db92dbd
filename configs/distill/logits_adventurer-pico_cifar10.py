# a baseline on CIFAR-10: the small ViT's class probabilities -> Adventurer, backbone and head
_base_ = [
    '../_base_/models/logits_classifier_vit-pico_adventurer-pico.py',
    '../_base_/datasets/cifar10_images.py', '../_base_/schedules/adamw_1000.py',
    '../_base_/runtime_distill_cls.py'
]
log_processor = dict(by_epoch=False)
optim_wrapper = dict(optimizer=dict(lr=1e-2))  # see ../recipes/cifar10_rates.py
