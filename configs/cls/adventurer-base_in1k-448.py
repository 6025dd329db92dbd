# the same at 448x448, from the student distilled there
_base_ = [
    '../_base_/models/classifier_adventurer-base.py', '../_base_/datasets/imagenet_448.py',
    '../_base_/schedules/finetune_100e.py', '../_base_/runtime_cls.py'
]
model = dict(
    backbone=dict(
        img_size=448,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-448/student.pth',
            prefix='backbone.')))
