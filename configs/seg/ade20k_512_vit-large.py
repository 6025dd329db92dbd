# the teacher twin of ade20k_512_linear-vit-large.py: DINOv2-L with softmax attention
_base_ = ['./ade20k_512_linear-vit-large.py']
model = dict(backbone=dict(attention='softmax', pretrained=True, init_cfg=None))
