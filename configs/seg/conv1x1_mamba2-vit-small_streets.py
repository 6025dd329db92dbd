# Drawn streets: the pretrained ViT-S with Mamba-2 mixers instead of attention
_base_ = ['./conv1x1_vit-small_streets.py']
model = dict(backbone=dict(attention='mamba2', mamba2_cfg=dict(feature_map='hedgehog')))
