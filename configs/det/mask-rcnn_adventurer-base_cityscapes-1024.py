# Cityscapes' things: Mask R-CNN on a distilled Adventurer-B, whole images padded to 1024x2048. Two
# too many for the GPU: --cfg-options switches=save_memory, or train_dataloader.batch_size=1
# Published: ViTDet (arXiv 2203.16527)'s Mask R-CNN and rates, of COCO.
# Ours: that it is on Cityscapes: whole images, 100 epochs, an average over 500 steps; an Adventurer
#   as backbone.
_base_ = [
    '../_base_/models/mask-rcnn_adventurer-base.py',
    '../_base_/datasets/cityscapes_instances_1024.py', '../_base_/runtime_det.py',
    '../_base_/schedules/det_100e.py'
]
image_size = (1024, 2048)
model = dict(
    data_preprocessor=dict(
        batch_augments=[dict(type='BatchFixedSizePad', size=image_size, pad_mask=True)]),
    backbone=dict(img_size=image_size),
    roi_head=dict(bbox_head=dict(num_classes=8), mask_head=dict(num_classes=8)))
# 47 steps an epoch at 64 images a step: an average over the last 500 follows the falls of the rate
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=2e-3)]
default_hooks = dict(checkpoint=dict(interval=5))
