# the teacher twin of cityscapes_1024.py: CLIP ViT-B/16 with softmax attention
_base_ = [
    '../_base_/models/upernet_vit-base.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_80k.py'
]
