# cityscapes_1024.py with Mask2Former and its own schedule (8 GPUs); needs make setup-full
_base_ = [
    '../_base_/models/mask2former_adventurer-base.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/mask2former_90k.py'
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')))
