# CIFAR-10: a small softmax ViT trained with labels, the teacher
_base_ = [
    '../_base_/models/classifier_vit-pico.py', '../_base_/datasets/cifar10.py',
    '../_base_/runtime_cls.py', '../_base_/schedules/adamw_small.py'
]
log_processor = dict(by_epoch=False)
train_dataloader = dict(batch_size=128)
