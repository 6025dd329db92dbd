# the built-in streets: the linear ViT from the last stage of ViT-AdaLA
_base_ = ['./streets_vit-nano.py']
model = dict(
    backbone=dict(
        attention='linear',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-feature_vit-nano_streets/student.pth',
            prefix='backbone.')))
