# Cityscapes' things: Mask R-CNN on the linear ViT-L that ViT-AdaLA made of DINOv2-L
# Published: layer decay 0.8 and drop path 0.4 are ViTDet's for ViT-L; else as
#   mask-rcnn_adventurer-base_cityscapes-1024.py.
# Ours: the linear ViT-L as backbone, all else as there.
_base_ = ['./mask-rcnn_adventurer-base_cityscapes-1024.py', '../_base_/models/vit_backbones.py']
model = dict(
    backbone=dict(
        _delete_=True,
        **_base_.linear_vit_large,
        img_size=(1024, 2048),
        drop_path_rate=0.4),
    neck=dict(in_channels=1024))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
