# ImageNet-1K at 512x512, 1,024 tokens: the linear ViT-L that ViT-AdaLA made of DINOv2-L, fine-tuned
# with labels
# Published: as linear-vit-large_in1k-224.py.
# Ours: 512x512, where linear attention begins to be faster; crop ratio 1.0.
_base_ = [
    '../_base_/models/classifier_linear-vit-large.py', '../_base_/datasets/imagenet_512.py',
    '../_base_/schedules/finetune_100e.py', '../_base_/runtime_cls.py'
]
model = dict(backbone=dict(img_size=512))
