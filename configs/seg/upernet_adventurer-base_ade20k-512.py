# ADE20K: UPerNet on a distilled Adventurer-B, 512x512 crops, 160k iterations, batch 16.
# Tests see windows of the size of the crops, as cityscapes_1024.py's do; whole images:
# --cfg-options model.test_cfg.mode=whole
# Published: Adventurer (arXiv 2410.07599), ADE20K recipe: UPerNet, 160k steps of 16 crops of
#   512x512, AdamW at 5e-5, decay 0.01; ViT-Linearizer (arXiv 2504.00037) reports the distilled
#   student.
# Ours: SimpleFPN over four depths and a head of 128 channels
#   (upernet-heavy_adventurer-base_ade20k-512.py has 512); layer decay 0.9, drop path 0.1; the mean
#   over pixels that count; windows in the test, see cityscapes_1024.py.
_base_ = [
    '../_base_/models/upernet_adventurer-base.py', '../_base_/datasets/ade20k_512x512.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_80k.py'
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(img_size=(512, 512)),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)))
max_iters = 160000
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0., by_epoch=False, begin=1500, end=max_iters),
]
auto_scale_lr = dict(base_batch_size=16)
train_cfg = dict(max_iters=max_iters)
