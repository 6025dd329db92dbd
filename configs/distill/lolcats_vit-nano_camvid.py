# A baseline: attention transfer as in LoLCATs on CamVid's images; Hedgehog feature maps are
# learned, all else stays
_base_ = ['./adala-attention_vit-nano_camvid.py']
model = dict(backbone=dict(linear_cfg=dict(feature_map='hedgehog')), trained=('added', ))
optim_wrapper = dict(optimizer=dict(weight_decay=0.))
