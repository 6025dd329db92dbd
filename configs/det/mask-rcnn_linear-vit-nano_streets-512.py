# Drawn streets: a small Mask R-CNN on the linear ViT from the last stage of ViT-AdaLA
_base_ = ['./mask-rcnn_adventurer-nano_streets-512.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        attention='linear',
        img_size=(256, 512),
        model_kwargs=dict(embed_dim=128, depth=8, num_heads=2),
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-feature_vit-nano_streets/student.pth',
            prefix='backbone.')))
