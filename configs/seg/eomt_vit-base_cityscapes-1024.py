# Cityscapes: EoMT on DINOv2-B with softmax attention, 1024x1024 crops. Published with DINOv2-L; the
# smaller network and tests of whole images are ours.
# Published: EoMT (arXiv 2503.19108), with DINOv2-L; see ../_base_/schedules/eomt_20k.py.
# Ours: DINOv2-B, whose time is nearer to that of the linear ViT-B and the Adventurer-B beside it,
#   16-pixel patches, and whole images in the test.
_base_ = [
    '../_base_/models/eomt_vit-base.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/eomt_20k.py'
]
