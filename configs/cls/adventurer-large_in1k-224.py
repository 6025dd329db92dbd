# supervised ImageNet-1K fine-tuning of the distilled Adventurer-L
_base_ = ['./adventurer-base_in1k-224.py']
model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint='work_dirs/linearizer_adventurer-large_in1k-224/student.pth')),
    head=dict(in_channels=1024))
