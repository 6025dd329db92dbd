# Cityscapes: the softmax baseline of ViT-AdaLA, UPerNet on DINOv2-L, the teacher, 1024x1024 crops
# Published: the teacher of ViT-AdaLA (arXiv 2603.16063).
# Ours: as upernet_linear-vit-large_cityscapes-1024.py.
_base_ = ['./upernet_linear-vit-large_cityscapes-1024.py']
model = dict(backbone=dict(attention='softmax', pretrained=True, init_cfg=None))
