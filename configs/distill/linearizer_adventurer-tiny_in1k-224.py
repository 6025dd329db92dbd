# ViT-Linearizer on ImageNet's images: CLIP ViT-B/16 into Adventurer-T. Widths differ, so a linear
# projector is added.
# Published: nothing of this size; as linearizer_adventurer-base_in1k-224.py.
# Ours: the size, and the linear projector to the teacher's width.
_base_ = ['./linearizer_adventurer-base_in1k-224.py']
model = dict(backbone=dict(arch='tiny'))
