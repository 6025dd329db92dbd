# supervised ImageNet-1K fine-tuning of the distilled Adventurer-T
_base_ = ['./adventurer-base_in1k-224.py']
model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='work_dirs/linearizer_adventurer-tiny_in1k-224/student.pth')),
    head=dict(in_channels=256))
