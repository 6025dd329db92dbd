# Cityscapes: UPerNet on a distilled Adventurer-L, 1024x1024 crops
# Published: nothing on Cityscapes; as cityscapes_1024.py.
# Ours: the size and drop path 0.3.
_base_ = ['./cityscapes_1024.py']
model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.3,
        out_indices=(5, 11, 17, 23),
        init_cfg=dict(checkpoint='work_dirs/linearizer_adventurer-large_in1k-224/student.pth')),
    neck=dict(in_channels=1024))
