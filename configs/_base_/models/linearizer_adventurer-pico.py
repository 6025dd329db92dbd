# ViT-Linearizer between the two networks of fcn_vit-pico.py and fcn_adventurer-pico.py
_base_ = ['./linearizer_adventurer-nano.py']
model = dict(
    backbone=dict(arch=dict(embed_dims=64, num_layers=4), img_size=(96, 128)),
    teacher=dict(
        backbone=dict(
            img_size=(96, 128),
            model_kwargs=dict(patch_size=8, embed_dim=64, depth=4, num_heads=2))))
