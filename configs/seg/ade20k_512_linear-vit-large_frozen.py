# the same with the backbone frozen: only neck and heads train
_base_ = ['./ade20k_512_linear-vit-large.py']
model = dict(backbone=dict(frozen_stages=24, drop_path_rate=0.))
