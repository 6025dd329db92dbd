# Cityscapes: EoMT on the linear ViT-B that ViT-AdaLA made of DINOv2-B, 1024x1024 crops
# Published: as eomt_vit-base_cityscapes-1024.py, with softmax attention.
# Ours: linear attention, as ViT-AdaLA makes it, so that backbones are compared.
_base_ = [
    '../_base_/models/eomt_linear-vit-base.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/eomt_20k.py'
]
