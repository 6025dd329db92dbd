# cityscapes_1024.py with SegFormer's MLP head; the schedule is that of all heads here, so that
# heads are compared, not the one it was published with
_base_ = [
    '../_base_/models/segformer_adventurer-base.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_80k.py'
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')))
