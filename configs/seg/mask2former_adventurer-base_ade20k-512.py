# ADE20K: Mask2Former with its own schedule (8 GPUs) on a distilled Adventurer-B, 512x512 crops;
# needs make setup-full
# Published: head, losses, 160k steps of 16, rate 1e-4, a tenth of it for the backbone, decay 0.05
#   and clipping are Mask2Former (arXiv 2112.01527)'s on ADE20K.
# Ours: backbone and SimpleFPN; images are cropped as in upernet_adventurer-base_ade20k-512.py;
#   windows in the test, see cityscapes_1024.py.
_base_ = [
    '../_base_/models/mask2former_adventurer-base.py', '../_base_/datasets/ade20k_512x512.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/mask2former_90k.py'
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(img_size=(512, 512)),
    decode_head=dict(num_classes=150, loss_cls=dict(class_weight=[1.0] * 150 + [0.1])),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)))
train_dataloader = dict(batch_size=2)
max_iters = 160000
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., by_epoch=False, begin=0, end=max_iters)
]
train_cfg = dict(max_iters=max_iters, val_interval=16000)
default_hooks = dict(checkpoint=dict(interval=16000))
