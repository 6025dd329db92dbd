# as linearizer_adventurer-pico_camvid.py, into a linear ViT with a ReLU feature map and a
# depthwise convolution on the values
_base_ = ['./linearizer_adventurer-pico_camvid.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        attention='linear',
        linear_cfg=dict(feature_map='relu', conv_kernel=3),
        img_size=(96, 128),
        model_kwargs=dict(patch_size=8, embed_dim=64, depth=4, num_heads=2)))
