# the same teacher into Adventurer-L: 24 blocks against 12 are cut into as many stages, and a
# linear projector fits the widths
_base_ = ['./linearizer_adventurer-base_in1k-224.py']
model = dict(backbone=dict(arch='large'))
