# the softmax twin of coco_1024_12e_linear-vit-large.py: DINOv2-L with global attention
_base_ = ['./coco_1024_12e_linear-vit-large.py']
model = dict(backbone=dict(attention='softmax', pretrained=True, init_cfg=None))
