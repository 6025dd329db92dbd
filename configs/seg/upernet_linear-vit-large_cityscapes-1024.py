# Cityscapes: UPerNet on the linear ViT-L that ViT-AdaLA made of DINOv2-L, 1024x1024 crops
# Published: ViT-AdaLA (arXiv 2603.16063), table of Cityscapes: DINOv2-L at 1024x1024, with
#   Mask2Former (mask2former_linear-vit-large_cityscapes-1024.py).
# Ours: UPerNet and the schedule of cityscapes_1024.py, so that backbones are compared; drop path
#   0.3.
_base_ = [
    '../_base_/models/upernet_linear-vit-large.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_80k.py'
]
