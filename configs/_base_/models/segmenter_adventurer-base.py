# Segmenter's mask transformer on the last map of Adventurer-B. Its two layers attend over all
# patches and classes together, so the head is quadratic: the whole is no longer linear.
_base_ = ['./upernet_adventurer-base.py']
model = dict(
    backbone=dict(out_indices=-1),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='SegmenterMaskTransformerHead',
        in_channels=768,
        in_index=0,
        channels=768,
        num_classes=19,
        num_layers=2,
        num_heads=12,
        embed_dims=768,
        dropout_ratio=0.0,
        loss_decode=dict(
            type='mmvitlin.PixelCrossEntropyLoss', avg_non_ignore=True, loss_weight=1.0)),
    auxiliary_head=None)
