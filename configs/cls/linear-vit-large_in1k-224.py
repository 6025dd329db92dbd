# ImageNet-1K: the linear ViT-L that ViT-AdaLA made of DINOv2-L, fine-tuned with labels
# Published: ViT-AdaLA (arXiv 2603.16063), table of backbones, reports DINOv2-L on ImageNet.
# Ours: the schedule is that of adventurer-base_in1k-224.py, drop path 0.3: the paper's fine-tuning
#   is not known to us.
_base_ = [
    '../_base_/models/classifier_linear-vit-large.py', '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/finetune_100e.py', '../_base_/runtime_cls.py'
]
