# as adamw_400.py, 2,400 iterations
_base_ = ['./adamw_400.py']
max_iters = 2400
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=240),
    dict(type='CosineAnnealingLR', eta_min=0., by_epoch=False, begin=240, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
