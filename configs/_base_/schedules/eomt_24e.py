# EoMT on COCO: 24 epochs of batch 16, as its released settings for small networks. Published: AdamW
# at 1e-4, weight decay 0.05, a layer decay of 0.8, poly decay of power 0.9. Ours: one warm-up of
# 1500 iterations for all, no decay of norms, vectors and queries, gradients clipped as
# Mask2Former's.
_base_ = ['./mask2former_50e.py']
max_epochs = 24
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8, backbone_lr_mult=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(
        type='PolyLR', power=0.9, eta_min=0., by_epoch=True, begin=0, end=max_epochs,
        convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
default_hooks = dict(checkpoint=dict(interval=4))
