# EoMT on DINOv2-B with registers: 100 queries in the last 3 of 12 layers
# published: the head, 3 layers for this size, queries, losses and their weights, patches of 16
# pixels made of DINOv2's of 14; the test sees whole images here, windows there
_base_ = ['./upernet_adventurer-base.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_base_patch14_reg4_dinov2.lvd142m',
        pretrained=True,
        img_size=(1024, 1024),
        model_kwargs=dict(patch_size=16),
        out_type='stream',
        out_indices=8),  # the last layer without queries
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='mmvitlin.EoMTHead',
        in_channels=768,
        num_classes=19,
        num_queries=100,
        num_upscales=2,  # from 16 pixels to 4
        loss=dict(
            weights=dict(cls=2.0, mask=5.0, dice=5.0), no_object_weight=0.1, num_points=12544)),
    auxiliary_head=None)
custom_hooks = [dict(type='mmvitlin.MaskAnnealingHook')]
