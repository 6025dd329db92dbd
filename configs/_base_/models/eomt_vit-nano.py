# EoMT on the small ViT of fcn_vit-nano.py: 24 queries in the last 3 of 8 layers
_base_ = ['./fcn_adventurer-nano.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        img_size=(120, 160),
        model_kwargs=dict(patch_size=8, embed_dim=128, depth=8, num_heads=2),
        out_type='stream',
        out_indices=4,
        drop_path_rate=0.1),
    decode_head=dict(
        _delete_=True,
        type='mmvitlin.EoMTHead',
        in_channels=128,
        num_classes=11,
        num_queries=24,
        num_upscales=1,  # from 8 pixels to 4
        loss=dict(num_points=1024)))
custom_hooks = [dict(type='mmvitlin.MaskAnnealingHook')]
