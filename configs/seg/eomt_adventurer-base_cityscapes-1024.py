# Cityscapes: EoMT's head and schedule on a distilled Adventurer-B, 1024x1024 crops
# Published: EoMT (arXiv 2503.19108) with softmax ViTs; see ../_base_/schedules/eomt_20k.py.
# Ours: its head on scans, without masks; windows in the test, as cityscapes_1024.py.
_base_ = [
    '../_base_/models/eomt_adventurer-base.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/eomt_20k.py'
]
model = dict(test_cfg=dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768)))
