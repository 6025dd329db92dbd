# an Adventurer of 64 channels and 4 blocks on 4-pixel patches of 32x32 images, linear head
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmvitlin.Adventurer',
        arch=dict(embed_dims=64, num_layers=4),
        img_size=32,
        patch_size=4,
        out_type='avg_featmap',
        drop_path_rate=0.1),
    head=dict(
        type='LinearClsHead',
        in_channels=64,
        num_classes=10,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0)))
