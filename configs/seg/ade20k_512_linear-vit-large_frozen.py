# the same with the backbone frozen: only neck and heads train
_base_ = ['./ade20k_512_linear-vit-large.py']
model = dict(backbone=dict(frozen_stages=24, drop_path_rate=0.))
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),  # of neck and heads
    paramwise_cfg=dict(layer_decay_rate=1.0))
