# CamVid: a linear ViT (ELU feature map) from the student of linearizer_linear-vit-pico_camvid.py
_base_ = ['./fcn_adventurer-pico_camvid.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        attention='linear',
        img_size=(96, 128),
        model_kwargs=dict(patch_size=8, embed_dim=64, depth=4, num_heads=2),
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_linear-vit-pico_camvid/student.pth',
            prefix='backbone.')))
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/camvid_label_rates.py
