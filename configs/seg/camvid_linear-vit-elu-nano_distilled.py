# CamVid: a linear ViT (ELU feature map) from its distilled checkpoint
_base_ = ['./camvid_adventurer-nano_short.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        attention='linear',
        img_size=(120, 160),
        model_kwargs=dict(patch_size=8, embed_dim=128, depth=8, num_heads=2),
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_linear-vit-elu-nano_camvid/student.pth',
            prefix='backbone.')))
