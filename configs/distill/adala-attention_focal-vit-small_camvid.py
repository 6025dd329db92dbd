# ViT-AdaLA, stage 1, from the pretrained ViT-S into focal attention, on images of CamVid and of
# anything
_base_ = ['./adala-attention_vit-small_camvid.py']
model = dict(backbone=dict(attention='focal'))
optim_wrapper = dict(optimizer=dict(lr=5e-5))  # it starts near its goal
