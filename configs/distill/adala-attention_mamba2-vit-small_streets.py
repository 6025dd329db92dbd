# ViT-AdaLA, stage 1, from the pretrained ViT-S into Mamba-2 mixers, on drawn streets
_base_ = [
    '../_base_/models/adala_vit-small.py', '../_base_/datasets/streets_images_140x280.py',
    '../_base_/schedules/adamw_small.py', '../_base_/runtime_distill.py'
]
model = dict(
    backbone=dict(attention='mamba2', mamba2_cfg=dict(feature_map='hedgehog')),
    objectives=dict(attention=dict(type='mmvitlin.AttentionAlignmentLoss', relative=True)))
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.))
