# COCO: Mask2Former for instances on a distilled Adventurer-B
# Published: head, losses, 50 epochs of 16, large-scale jitter at 1024, rate 1e-4, a tenth of it for
#   the backbone, decay 0.05 and clipping are Mask2Former (arXiv 2112.01527)'s on COCO.
# Ours: an Adventurer with a SimpleFPN over four depths as backbone; drop path 0.1.
_base_ = [
    '../_base_/models/mask2former-instance_adventurer-base.py',
    '../_base_/datasets/coco_instances_1024.py', '../_base_/runtime_det.py',
    '../_base_/schedules/mask2former_50e.py'
]
default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP', rule='greater'))
