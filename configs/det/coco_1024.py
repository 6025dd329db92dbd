# COCO at 1024x1024: Mask R-CNN on a distilled Adventurer-B, 100 epochs. Needs make setup-full.
#   python tools/train.py configs/det/coco_1024.py
# The backbone starts from the student that configs/distill/linearizer_adventurer-base_in1k-224.py
# wrote. Elsewhere: --cfg-options model.backbone.init_cfg.checkpoint=FILE; from scratch:
# --cfg-options model.backbone.init_cfg=None; other data in the COCO layout: data_root=FOLDER.
_base_ = [
    '../_base_/models/mask-rcnn_adventurer-base.py', '../_base_/datasets/coco_instances_1024.py',
    '../_base_/runtime_det.py', '../_base_/schedules/det_100e.py'
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')))
