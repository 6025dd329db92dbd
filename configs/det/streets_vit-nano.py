# the built-in streets: the softmax twin of streets_adventurer-nano.py
_base_ = ['./streets_adventurer-nano.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        img_size=(256, 512),
        model_kwargs=dict(embed_dim=128, depth=8, num_heads=2),
        drop_path_rate=0.1))
