# COCO: Mask2Former for things and stuff on a distilled Adventurer-B
# Published: as mask2former-instance_adventurer-base_coco-1024.py, Mask2Former (arXiv 2112.01527)
#   for panoptic segments.
# Ours: as there.
_base_ = [
    '../_base_/models/mask2former-panoptic_adventurer-base.py',
    '../_base_/datasets/coco_panoptic_1024.py', '../_base_/runtime_det.py',
    '../_base_/schedules/mask2former_50e.py'
]
default_hooks = dict(checkpoint=dict(save_best='panoptic/PQ', rule='greater'))
