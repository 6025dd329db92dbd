# ViT-Linearizer on ImageNet's images: CLIP ViT-B/16 into Adventurer-L. 24 blocks against 12 are cut
# into as many stages, and a linear projector fits the widths.
# Published: ViT-Linearizer (arXiv 2504.00037) has Adventurer-L; else as
#   linearizer_adventurer-base_in1k-224.py.
# Ours: the linear projector to the teacher's width; as there otherwise.
_base_ = ['./linearizer_adventurer-base_in1k-224.py']
model = dict(backbone=dict(arch='large'))
