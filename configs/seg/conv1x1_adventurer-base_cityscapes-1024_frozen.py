# Cityscapes: the linear probe of the features of a frozen Adventurer-B
# Published: a linear head on a frozen backbone is the probe of JetViT (CVPR 2026), Cityscapes
#   table.
# Ours: one rate of 1e-3; as conv1x1_adventurer-base_cityscapes-1024.py otherwise.
_base_ = ['./conv1x1_adventurer-base_cityscapes-1024.py']
model = dict(backbone=dict(frozen_stages=12, drop_path_rate=0.))
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),  # of the head
    paramwise_cfg=dict(layer_decay_rate=1.0))
