# CamVid at 168x224: the pretrained ViT-S with Mamba-2 mixers instead of attention
_base_ = ['./conv1x1_vit-small_camvid.py']
model = dict(backbone=dict(attention='mamba2', mamba2_cfg=dict(feature_map='hedgehog')))
