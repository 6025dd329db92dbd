# the same teacher into Adventurer-L; 24 blocks against 12, widths differ: stages and a projector fit them
_base_ = ['./linearizer_adventurer-base_in1k-224.py']
model = dict(backbone=dict(arch='large'))
