# the softmax twin of cityscapes_1024_linear-vit-large.py: DINOv2-L with global attention
_base_ = ['./cityscapes_1024_linear-vit-large.py']
model = dict(backbone=dict(attention='softmax', pretrained=True, init_cfg=None))
