# EoMT on Cityscapes: 107 epochs of batch 16, here as 20k iterations. Published: AdamW at 1e-4,
# weight decay 0.05, a layer decay of 0.8, poly decay of power 0.9, warm-up first of the head, then
# of the backbone. Ours: one warm-up of 1500 iterations for all, no decay of norms, vectors and
# queries, and gradients clipped as Mask2Former's.
_base_ = ['./mask2former_90k.py']
max_iters = 20000
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8, backbone_lr_mult=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=0.9, eta_min=0., by_epoch=False, begin=1500, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=4000)
default_hooks = dict(checkpoint=dict(interval=4000))
