# ViT-AdaLA, stage 2: feature alignment of DINOv2-B on ImageNet's images, from stage 1. The paper
# aligns features on ImageNet-22K; any folder of images: --cfg-options data_root=FOLDER
# train_dataloader.dataset.data_prefix=''
# Published: nothing of this size; as adala-feature_dinov2-large_in1k-448.py.
# Ours: the base size; as there otherwise.
_base_ = [
    '../_base_/models/adala_dinov2-base.py', '../_base_/datasets/imagenet_images_448.py',
    '../_base_/schedules/align_features_20e.py', '../_base_/runtime_distill_cls.py'
]
model = dict(
    type='mmvitlin.FeatureAlignment',
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-attention_dinov2-base_coco-448/student.pth',
            prefix='backbone.')))
