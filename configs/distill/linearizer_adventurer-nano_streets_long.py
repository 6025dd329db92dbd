# as linearizer_adventurer-nano_streets.py, 600 iterations
_base_ = ['./linearizer_adventurer-nano_streets.py']
max_iters = 600
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', eta_min=0., by_epoch=False, begin=60, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
