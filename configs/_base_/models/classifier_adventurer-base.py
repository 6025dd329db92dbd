# Adventurer-B with a linear head on the mean of its patches: distillation teaches patches, and
# gives the class token no target
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmvitlin.Adventurer',
        arch='base',
        img_size=224,
        patch_size=16,
        out_type='avg_featmap',
        drop_path_rate=0.4),
    head=dict(
        type='LinearClsHead',
        in_channels=768,
        num_classes=1000,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]))
