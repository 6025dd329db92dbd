# COCO: EoMT for things and stuff on the linear ViT-B that ViT-AdaLA made of DINOv2-B
# Published: as eomt-panoptic_vit-base_coco-1024.py, with softmax attention.
# Ours: linear attention, as ViT-AdaLA makes it, so that backbones are compared.
_base_ = [
    '../_base_/models/eomt-panoptic_vit-base.py', '../_base_/datasets/coco_panoptic_1024.py',
    '../_base_/runtime_det.py', '../_base_/schedules/eomt_24e.py'
]
model = dict(
    backbone=dict(
        attention='linear',
        pretrained=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-feature_dinov2-base_in1k-448/student.pth',
            prefix='backbone.')))
default_hooks = dict(checkpoint=dict(save_best='panoptic/PQ', rule='greater'))
