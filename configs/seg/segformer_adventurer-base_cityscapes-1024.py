# Cityscapes: SegFormer's MLP head on a distilled Adventurer-B, with the schedule of
# cityscapes_1024.py, so that heads are compared
# Published: the head: SegFormer (arXiv 2105.15203).
# Ours: the schedule of cityscapes_1024.py, so that heads are compared.
_base_ = [
    '../_base_/models/segformer_adventurer-base.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_80k.py'
]
model = dict(test_cfg=dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768)))
