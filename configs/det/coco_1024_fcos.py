# COCO at 1024x1024: FCOS, boxes alone, on a distilled Adventurer-B, 12 epochs
_base_ = [
    '../_base_/models/fcos_adventurer-base.py', '../_base_/datasets/coco_boxes_1024.py',
    '../_base_/runtime_det.py', '../_base_/schedules/det_12e.py'
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')))
