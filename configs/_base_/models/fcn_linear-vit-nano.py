# fcn_vit-nano.py with linear attention
_base_ = ['./fcn_vit-nano.py']
model = dict(backbone=dict(attention='linear'))
