# COCO: FCOS, boxes only, on a distilled Adventurer-B, 12 epochs
# Published: the head: FCOS (arXiv 1904.01355); the schedule is no published one.
# Ours: 12 epochs with the rates and the jitter of ViTDet (arXiv 2203.16527), so that heads are
#   compared; backbone and averaged weights.
_base_ = [
    '../_base_/models/fcos_adventurer-base.py', '../_base_/datasets/coco_boxes_1024.py',
    '../_base_/runtime_det.py', '../_base_/schedules/det_100e.py'
]
max_epochs = 12
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=250),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[8, 11],
         gamma=0.1),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
