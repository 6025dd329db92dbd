# ViT-AdaLA, stage 2: feature alignment of the small ViT on CamVid's images, from stage 1
_base_ = [
    '../_base_/models/adala_vit-nano.py', '../_base_/datasets/camvid_images_120x160.py',
    '../_base_/schedules/adamw_small.py', '../_base_/runtime_distill.py'
]
model = dict(
    type='mmvitlin.FeatureAlignment',
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-attention_vit-nano_camvid/student.pth',
            prefix='backbone.')),
    teacher=dict(checkpoint='work_dirs/fcn_vit-nano_camvid/iter_400.pth'))
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_dataloader = dict(sampler=dict(salt=2))  # other batches than stage 1
