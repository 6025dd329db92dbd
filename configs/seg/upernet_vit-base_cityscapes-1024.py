# Cityscapes: the softmax baseline, UPerNet on CLIP ViT-B/16, the teacher, 1024x1024 crops
# Published: ViT-Linearizer (arXiv 2504.00037) reports this teacher on Cityscapes.
# Ours: the recipe of cityscapes_1024.py, so that backbones are compared; whole images in the test,
#   in which ViTs do better (docs/results/highres_camvid.json).
_base_ = [
    '../_base_/models/upernet_vit-base.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_80k.py'
]
