# Cityscapes: Mask2Former with its own schedule (8 GPUs) on a distilled Adventurer-B, 1024x1024
# crops; needs make setup-full
# Published: head, losses, 90k steps of 16, rate 1e-4, a tenth of it for the backbone, decay 0.05
#   and clipping are Mask2Former (arXiv 2112.01527)'s on Cityscapes.
# Ours: backbone and SimpleFPN; crops of 1024x1024, where it has 512x1024; windows in the test, see
#   cityscapes_1024.py.
_base_ = [
    '../_base_/models/mask2former_adventurer-base.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/mask2former_90k.py'
]
model = dict(test_cfg=dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768)))
