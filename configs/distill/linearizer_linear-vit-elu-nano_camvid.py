# as linearizer_adventurer-nano_camvid_short.py, into a linear ViT (ELU feature map)
_base_ = ['./linearizer_adventurer-nano_camvid_short.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        attention='linear',
        img_size=(120, 160),
        model_kwargs=dict(patch_size=8, embed_dim=128, depth=8, num_heads=2)))
