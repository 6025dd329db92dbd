# Cityscapes' things: the softmax baseline, Mask R-CNN on CLIP ViT-B/16 with global attention
# Published: as mask-rcnn_adventurer-base_cityscapes-1024.py.
# Ours: the backbone with global attention, so that backbones are compared; as
#   mask-rcnn_adventurer-base_cityscapes-1024.py otherwise.
_base_ = ['./mask-rcnn_adventurer-base_cityscapes-1024.py', '../_base_/models/vit_backbones.py']
model = dict(
    data_preprocessor=_base_.clip_normalization,
    backbone=dict(_delete_=True, **_base_.clip_vit_base, img_size=(1024, 2048)))
