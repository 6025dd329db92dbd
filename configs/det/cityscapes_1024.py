# Cityscapes' things: Mask R-CNN on a distilled Adventurer-B, 1024x1024 crops
_base_ = [
    '../_base_/models/mask-rcnn_adventurer-base.py',
    '../_base_/datasets/cityscapes_instances_1024.py', '../_base_/runtime_det.py',
    '../_base_/schedules/det_100e.py', '../_base_/switches/ema.py'
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')),
    roi_head=dict(bbox_head=dict(num_classes=8), mask_head=dict(num_classes=8)))
