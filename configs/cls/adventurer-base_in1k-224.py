# supervised ImageNet-1K fine-tuning of the distilled Adventurer-B
_base_ = [
    '../_base_/models/classifier_adventurer-base.py', '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/finetune_100e.py', '../_base_/runtime_cls.py'
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')))
