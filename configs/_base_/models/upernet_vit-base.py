# the softmax baseline: UPerNet on CLIP ViT-B/16, attention through fused kernels
_base_ = ['./upernet_adventurer-base.py', './vit_backbones.py']
model = dict(
    data_preprocessor=_base_.clip_normalization,
    backbone=dict(
        _delete_=True,
        **_base_.clip_vit_base,
        img_size=(1024, 1024),
        out_indices=(2, 5, 8, 11)))
