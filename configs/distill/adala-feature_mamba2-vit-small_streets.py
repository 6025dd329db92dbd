# ViT-AdaLA, stage 2, from the pretrained ViT-S into Mamba-2 mixers, on drawn streets
_base_ = [
    '../_base_/models/adala_vit-small.py', '../_base_/datasets/streets_images_140x280.py',
    '../_base_/schedules/adamw_small.py', '../_base_/runtime_distill.py'
]
model = dict(
    type='mmvitlin.FeatureAlignment',
    backbone=dict(
        attention='mamba2',
        mamba2_cfg=dict(feature_map='hedgehog'),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-attention_mamba2-vit-small_streets/student.pth',
            prefix='backbone.')))
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=0.01))
train_dataloader = dict(sampler=dict(salt=2))  # other batches than stage 1
