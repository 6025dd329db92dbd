# an Adventurer of 128 channels and 8 blocks on 4-pixel patches of 32x32 images, linear head
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmvitlin.Adventurer',
        arch=dict(embed_dims=128, num_layers=8),
        img_size=32,
        patch_size=4,
        out_type='avg_featmap',
        drop_path_rate=0.1),
    head=dict(
        type='LinearClsHead',
        in_channels=128,
        num_classes=10,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0)))
