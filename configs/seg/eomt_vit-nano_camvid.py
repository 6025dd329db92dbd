# CamVid: EoMT on a small softmax ViT, for two CPU cores. Each class of an image is one mask,
# of any size, so classes have no weights here.
_base_ = [
    '../_base_/models/eomt_vit-nano.py', '../_base_/datasets/camvid_120x160.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_small.py'
]
