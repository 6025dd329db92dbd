# COCO: the softmax baseline, Mask2Former for things and stuff on CLIP ViT-B/16 with global
# attention
# Published: as mask2former-panoptic_adventurer-base_coco-1024.py.
# Ours: the backbone with global attention, so that backbones are compared; as
#   mask2former-panoptic_adventurer-base_coco-1024.py otherwise.
_base_ = [
    './mask2former-panoptic_adventurer-base_coco-1024.py', '../_base_/models/vit_backbones.py'
]
model = dict(
    data_preprocessor=_base_.clip_normalization,
    backbone=dict(
        _delete_=True,
        **_base_.clip_vit_base,
        img_size=(1024, 1024),
        out_indices=(2, 5, 8, 11)))
