# as linearizer_adventurer-nano_cifar10.py, 400 iterations: the budget of the ablation
_base_ = [
    '../_base_/models/linearizer_adventurer-nano.py', '../_base_/datasets/cifar10_images.py',
    '../_base_/schedules/adamw_400.py', '../_base_/runtime_distill_cls.py'
]
normalisation = dict(mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255])
model = dict(
    data_preprocessor=normalisation,
    backbone=dict(img_size=32, patch_size=4),
    teacher=dict(
        **normalisation,
        backbone=dict(img_size=32, model_kwargs=dict(patch_size=4)),
        checkpoint='work_dirs/cifar10_vit-nano/iter_2000.pth'))
log_processor = dict(by_epoch=False)
