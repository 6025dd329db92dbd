# COCO at 1024x1024: Cascade Mask R-CNN on a distilled Adventurer-B, 100 epochs
_base_ = [
    '../_base_/models/cascade-mask-rcnn_adventurer-base.py',
    '../_base_/datasets/coco_instances_1024.py', '../_base_/runtime_det.py',
    '../_base_/schedules/det_100e.py'
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')))
