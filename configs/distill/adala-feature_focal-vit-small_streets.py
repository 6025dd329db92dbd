# ViT-AdaLA, stage 2, from the pretrained ViT-S into focal attention, on drawn streets
_base_ = [
    '../_base_/models/adala_vit-small.py', '../_base_/datasets/streets_images_140x280.py',
    '../_base_/schedules/adamw_small.py', '../_base_/runtime_distill.py'
]
model = dict(
    type='mmvitlin.FeatureAlignment',
    backbone=dict(
        attention='focal',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-attention_focal-vit-small_streets/student.pth',
            prefix='backbone.')))
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=0.01))
train_dataloader = dict(sampler=dict(salt=2))  # other batches than stage 1
