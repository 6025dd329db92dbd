# ViT-AdaLA, stage 2: feature alignment of DINOv2-L on ImageNet's images, from stage 1
# (the paper aligns features on ImageNet-22K; any folder of images: data_root=FOLDER
# train_dataloader.dataset.data_prefix='')
_base_ = [
    '../_base_/models/adala_dinov2-large.py', '../_base_/datasets/imagenet_images_448.py',
    '../_base_/schedules/align_features_20e.py', '../_base_/runtime_distill_cls.py'
]
model = dict(
    type='mmvitlin.FeatureAlignment',
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-attention_dinov2-large_coco/student.pth',
            prefix='backbone.')))
