# the teacher twin of cityscapes_1024_linear-vit-large_mask2former.py: DINOv2-L with softmax
_base_ = ['./cityscapes_1024_linear-vit-large_mask2former.py']
model = dict(backbone=dict(attention='softmax', pretrained=True, init_cfg=None))
