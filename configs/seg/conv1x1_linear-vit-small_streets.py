# Drawn streets: the pretrained ViT-S with linear attention instead of softmax
_base_ = ['./conv1x1_vit-small_streets.py']
model = dict(backbone=dict(attention='linear', linear_cfg=dict(feature_map='hedgehog', local=4)))
