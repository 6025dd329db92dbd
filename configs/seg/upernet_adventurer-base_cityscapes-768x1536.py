# Cityscapes: UPerNet on a distilled Adventurer-B, 768x1536 crops, three quarters of a whole image
# each way
# Published: as cityscapes_1024.py.
# Ours: crops of 768x1536; windows of the same size in the test.
_base_ = [
    '../_base_/models/upernet_adventurer-base.py', '../_base_/datasets/cityscapes_768x1536.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_80k.py'
]
model = dict(
    data_preprocessor=dict(size=(768, 1536)),
    backbone=dict(img_size=(768, 1536)),
    test_cfg=dict(mode='slide', crop_size=(768, 1536), stride=(512, 1024)))
