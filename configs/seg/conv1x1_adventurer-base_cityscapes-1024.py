# Cityscapes: batch norm and a 1x1 convolution on a distilled Adventurer-B, all fine-tuned; the
# probe is conv1x1_adventurer-base_cityscapes-1024_frozen.py
# Published: linear heads on Cityscapes are in JetViT (CVPR 2026).
# Ours: as cityscapes_1024.py.
_base_ = [
    '../_base_/models/conv1x1_adventurer-base.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_80k.py'
]
model = dict(test_cfg=dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768)))
