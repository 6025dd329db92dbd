# the softmax baseline of fcn_adventurer-nano.py: a ViT of 128 channels and 8 blocks
_base_ = ['./fcn_adventurer-nano.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        img_size=(120, 160),
        model_kwargs=dict(patch_size=8, embed_dim=128, depth=8, num_heads=2),
        drop_path_rate=0.1))
