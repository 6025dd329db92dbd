# EoMT for things and stuff on DINOv2-B with registers: 200 queries in the last 3 of 12 layers
# published: the head, 3 layers for this size, 200 queries and losses; at 640x640, here at 1024x1024
_base_ = ['./mask2former-panoptic_adventurer-base.py']
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
    panoptic_head=dict(
        _delete_=True,
        type='mmvitlin.EoMTPanopticHead',
        in_channels=768,
        num_things_classes=80,
        num_stuff_classes=53,
        num_queries=200),
    train_cfg=None)
custom_hooks = [dict(type='mmvitlin.MaskAnnealingHook')]
