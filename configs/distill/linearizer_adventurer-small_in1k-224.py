# ViT-Linearizer on ImageNet's images: CLIP ViT-B/16 into Adventurer-S. Widths differ, so a linear
# projector is added.
# Published: ViT-Linearizer (arXiv 2504.00037) has Adventurer-S; else as
#   linearizer_adventurer-base_in1k-224.py.
# Ours: the linear projector to the teacher's width; as there otherwise.
_base_ = ['./linearizer_adventurer-base_in1k-224.py']
model = dict(backbone=dict(arch='small'))
