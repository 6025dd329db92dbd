# the linear ViT-L that ViT-AdaLA made of DINOv2-L, classifying by its class token, which feature
# alignment teaches with the patches
_base_ = ['./classifier_adventurer-base.py', './vit_backbones.py']
model = dict(
    backbone=dict(
        _delete_=True,
        **_base_.linear_vit_large,
        img_size=224,
        out_type='cls_token',
        drop_path_rate=0.3),
    head=dict(in_channels=1024))
