# COCO: ViTDet's baseline, Mask R-CNN on CLIP ViT-B/16 in windows with four global blocks, without
# relative positions
# Published: ViTDet (arXiv 2203.16527): windows of 14x14 patches with four global blocks; as
#   mask-rcnn_adventurer-base_coco-1024.py.
# Ours: no relative positions, for CLIP has none; CLIP's weights.
_base_ = ['./mask-rcnn_adventurer-base_coco-1024.py', '../_base_/models/vit_backbones.py']
model = dict(
    data_preprocessor=_base_.clip_normalization,
    backbone=dict(
        _delete_=True,
        **_base_.clip_vit_base,
        attend_padding=True,
        attention='window',  # 14x14 patches, the last block of each quarter global
        softmax_layers=(2, 5, 8, 11),
        img_size=(1024, 1024)))
