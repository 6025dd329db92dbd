# Drawn streets: the pretrained ViT-S with focal attention, linear-time, in the place of softmax
_base_ = ['./conv1x1_vit-small_streets.py']
model = dict(backbone=dict(attention='focal'))
