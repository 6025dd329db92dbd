# PHI-S at four depths on drawn streets: the ViT-S of conv1x1_vit-small_streets.py into a small
# Adventurer
_base_ = [
    '../_base_/models/linearizer_vit-small_adventurer-tiny.py',
    '../_base_/datasets/streets_images_140x280.py', '../_base_/schedules/adamw_small.py',
    '../_base_/runtime_distill.py'
]
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=128, num_layers=8), img_size=(140, 280)),
    teacher=dict(
        checkpoint='work_dirs/conv1x1_vit-small_streets/iter_400.pth',
        cache='work_dirs/teacher_cache'),
    mask_ratio=0.,
    objectives=dict(
        activation=None,
        mask=None,
        feature=dict(
            type='mmvitlin.FeatureAlignmentLoss',
            layers=[0.25, 0.5, 0.75, 1.0],
            projector='linear',
            normalize_target=dict(type='phi_s', num_batches=16))))
train_dataloader = dict(sampler=dict(views=2))  # of each image, so that the cache pays
