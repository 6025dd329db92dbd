# Drawn streets: a small Mask R-CNN on an Adventurer from scratch
_base_ = [
    '../_base_/models/mask-rcnn_adventurer-nano.py',
    '../_base_/datasets/streets_instances_512x1024.py', '../_base_/runtime_det.py',
    '../_base_/schedules/adamw_small.py'
]
log_processor = dict(by_epoch=False)
