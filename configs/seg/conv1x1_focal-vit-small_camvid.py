# CamVid at 168x224: the pretrained ViT-S with focal attention, linear-time, instead of softmax
_base_ = ['./conv1x1_vit-small_camvid.py']
model = dict(backbone=dict(attention='focal'))
