# cityscapes_1024_linear-vit-large.py with Mask2Former; needs make setup-full
_base_ = ['./cityscapes_1024_mask2former.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_large_patch14_dinov2.lvd142m',
        attention='linear',
        img_size=(1024, 1024),
        model_kwargs=dict(patch_size=16),
        out_indices=(5, 11, 17, 23),
        drop_path_rate=0.3,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-feature_dinov2-large_in1k/student.pth',
            prefix='backbone.')),
    neck=dict(in_channels=1024),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024]))
