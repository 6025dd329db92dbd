# ViT-AdaLA, stage 1, from the pretrained ViT-S into Mamba-2 mixers, on drawn streets
_base_ = ['./adala-attention_focal-vit-small_streets.py']
model = dict(backbone=dict(attention='mamba2', mamba2_cfg=dict(feature_map='hedgehog')))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
