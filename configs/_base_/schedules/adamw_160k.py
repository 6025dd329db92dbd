# as adamw_80k.py, 160k iterations of 16 images
_base_ = ['./adamw_80k.py']
max_iters = 160000
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0., by_epoch=False, begin=1500, end=max_iters),
]
auto_scale_lr = dict(base_batch_size=16)
train_cfg = dict(max_iters=max_iters)
