# cityscapes_1024.py with crops of 768x1536, three quarters of a whole image each way
_base_ = [
    '../_base_/models/upernet_adventurer-base.py', '../_base_/datasets/cityscapes_768x1536.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_80k.py'
]
model = dict(
    data_preprocessor=dict(size=(768, 1536)),
    backbone=dict(
        img_size=(768, 1536),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')))
