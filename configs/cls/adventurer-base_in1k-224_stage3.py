# ImageNet-1K: adventurer-base_in1k-224.py continued for 20 epochs at a small rate, Adventurer's
# third stage
# Published: stage 3 of 3 of Adventurer (arXiv 2410.07599), training recipe: 20 epochs at 224, rate
#   1e-5, decay 0.1, drop path 0.6, label smoothing 0.1, averaged weights.
# Ours: the mean of patches; the batch of 1024 that the rate is meant for; clipping;
#   augmentation and averaging as in adventurer-base_in1k-224.py.
_base_ = [
    '../_base_/models/classifier_adventurer-base.py', '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/finetune_20e.py', '../_base_/runtime_cls.py'
]
model = dict(backbone=dict(drop_path_rate=0.6))
load_from = 'work_dirs/adventurer-base_in1k-224/epoch_100.pth'
