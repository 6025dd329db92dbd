# ViT-AdaLA, stage 1, from the pretrained ViT-S, on images of CamVid and of anything
_base_ = [
    '../_base_/models/adala_vit-small.py', '../_base_/datasets/camvid_images_168x224.py',
    '../_base_/schedules/adamw_small.py', '../_base_/runtime_distill.py'
]
model = dict(
    objectives=dict(attention=dict(type='mmvitlin.AttentionAlignmentLoss', relative=True)))
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.))
