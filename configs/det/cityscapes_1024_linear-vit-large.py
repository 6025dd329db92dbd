# Cityscapes' things: Mask R-CNN on the linear ViT-L that ViT-AdaLA made of DINOv2-L
_base_ = ['./cityscapes_1024.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_large_patch14_dinov2.lvd142m',
        attention='linear',
        img_size=(1024, 2048),
        model_kwargs=dict(patch_size=16),
        drop_path_rate=0.4,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-feature_dinov2-large_in1k/student.pth',
            prefix='backbone.')),
    neck=dict(in_channels=1024))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
