# ViT-AdaLA, stage 2: feature alignment of the small ViT on drawn streets, from stage 1
_base_ = [
    '../_base_/models/adala_vit-nano.py', '../_base_/datasets/streets_images_256x512.py',
    '../_base_/schedules/adamw_small.py', '../_base_/runtime_distill.py'
]
model = dict(
    type='mmvitlin.FeatureAlignment',
    backbone=dict(
        img_size=(192, 384),
        model_kwargs=dict(patch_size=16),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-attention_vit-nano_streets/student.pth',
            prefix='backbone.')),
    teacher=dict(
        backbone=dict(img_size=(192, 384), model_kwargs=dict(patch_size=16)),
        checkpoint='work_dirs/fcn_vit-nano_streets/iter_400.pth'))
train_dataloader = dict(sampler=dict(salt=2))  # other batches than stage 1
