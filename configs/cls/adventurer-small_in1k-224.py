# supervised ImageNet-1K fine-tuning of the distilled Adventurer-S
_base_ = ['./adventurer-base_in1k-224.py']
model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='work_dirs/linearizer_adventurer-small_in1k-224/student.pth')),
    head=dict(in_channels=512))
