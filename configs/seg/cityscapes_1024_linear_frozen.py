# the linear probe: what the features of a frozen Adventurer-B alone give
_base_ = ['./cityscapes_1024_linear.py']
model = dict(backbone=dict(frozen_stages=12, drop_path_rate=0.))
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),  # of the head
    paramwise_cfg=dict(layer_decay_rate=1.0))
