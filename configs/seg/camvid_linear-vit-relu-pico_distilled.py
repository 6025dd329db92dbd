# CamVid: a linear ViT with a ReLU feature map and a depthwise convolution on the values, from its
# distilled checkpoint
_base_ = ['./camvid_adventurer-pico.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        attention='linear',
        linear_cfg=dict(feature_map='relu', conv_kernel=3),
        img_size=(96, 128),
        model_kwargs=dict(patch_size=8, embed_dim=64, depth=4, num_heads=2),
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_linear-vit-relu-pico_camvid/student.pth',
            prefix='backbone.')))
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/camvid_label_rates.py
