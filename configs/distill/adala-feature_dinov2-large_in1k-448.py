# ViT-AdaLA, stage 2: feature alignment of DINOv2-L on ImageNet's images, from stage 1. The paper
# aligns features on ImageNet-22K; any folder of images: --cfg-options data_root=FOLDER
# train_dataloader.dataset.data_prefix=''
# Published: stage 2 of ViT-AdaLA (arXiv 2603.16063), method section: squared error of the final
#   features, all weights trained; its table of backbones has DINOv2-L.
# Ours: ImageNet-1K instead of ImageNet-22K, which fewer people have; rate and decay are
#   IronViT's, which adopts the stage; 448x448, 20 epochs and batch 256.
_base_ = [
    '../_base_/models/adala_dinov2-large.py', '../_base_/datasets/imagenet_images_448.py',
    '../_base_/schedules/align_features_20e.py', '../_base_/runtime_distill_cls.py'
]
model = dict(
    type='mmvitlin.FeatureAlignment',
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-attention_dinov2-large_coco-448/student.pth',
            prefix='backbone.')))
