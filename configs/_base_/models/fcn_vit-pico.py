# the softmax baseline of fcn_adventurer-pico.py: a ViT of 64 channels and 4 blocks
_base_ = ['./fcn_adventurer-pico.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        img_size=(96, 128),
        model_kwargs=dict(patch_size=8, embed_dim=64, depth=4, num_heads=2),
        drop_path_rate=0.1))
