# COCO: the softmax baseline, FCOS on CLIP ViT-B/16 with global attention, 12 epochs
# Published: as fcos_adventurer-base_coco-1024.py.
# Ours: the backbone with global attention, so that backbones are compared; as
#   fcos_adventurer-base_coco-1024.py otherwise.
_base_ = ['./fcos_adventurer-base_coco-1024.py', '../_base_/models/vit_backbones.py']
model = dict(
    data_preprocessor=_base_.clip_normalization,
    backbone=dict(_delete_=True, **_base_.clip_vit_base, img_size=(1024, 1024)))
