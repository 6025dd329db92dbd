# ImageNet-1K fine-tuning of the linear ViT-L that ViT-AdaLA made of DINOv2-L
_base_ = ['./adventurer-base_in1k-224.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_large_patch14_dinov2.lvd142m',
        attention='linear',
        img_size=224,
        model_kwargs=dict(patch_size=16),
        out_type='cls_token',
        drop_path_rate=0.3,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-feature_dinov2-large_in1k/student.pth',
            prefix='backbone.')),
    head=dict(in_channels=1024))
