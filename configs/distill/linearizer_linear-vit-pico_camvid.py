# ViT-Linearizer on CamVid's images: the ViT of 0.2 M parameters into a linear ViT (ELU feature map)
_base_ = ['./linearizer_adventurer-pico_camvid.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        attention='linear',
        img_size=(96, 128),
        model_kwargs=dict(patch_size=8, embed_dim=64, depth=4, num_heads=2)))
