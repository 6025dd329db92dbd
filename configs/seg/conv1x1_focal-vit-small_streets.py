# Drawn streets: the pretrained ViT-S with focal attention, linear-time, instead of softmax
_base_ = ['./conv1x1_vit-small_streets.py']
model = dict(backbone=dict(attention='focal'))
