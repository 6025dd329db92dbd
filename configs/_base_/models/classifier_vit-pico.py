# the softmax baseline of classifier_adventurer-pico.py
_base_ = ['./classifier_adventurer-pico.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        img_size=32,
        model_kwargs=dict(patch_size=4, embed_dim=64, depth=4, num_heads=2),
        out_type='avg_featmap',
        drop_path_rate=0.1))
