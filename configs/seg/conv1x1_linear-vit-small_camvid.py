# CamVid at 168x224: the pretrained ViT-S with linear attention instead of softmax
_base_ = ['./conv1x1_vit-small_camvid.py']
model = dict(backbone=dict(attention='linear', linear_cfg=dict(feature_map='hedgehog')))
