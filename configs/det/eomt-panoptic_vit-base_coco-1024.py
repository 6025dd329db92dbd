# COCO: EoMT for things and stuff on DINOv2-B with softmax attention
# Published: EoMT (arXiv 2503.19108); see ../_base_/schedules/eomt_24e.py.
# Ours: DINOv2-B with 16-pixel patches at 1024x1024.
_base_ = [
    '../_base_/models/eomt-panoptic_vit-base.py', '../_base_/datasets/coco_panoptic_1024.py',
    '../_base_/runtime_det.py', '../_base_/schedules/eomt_24e.py'
]
default_hooks = dict(checkpoint=dict(save_best='panoptic/PQ', rule='greater'))
