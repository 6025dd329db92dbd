# the same teacher into Adventurer-L at 448x448
_base_ = ['./linearizer_adventurer-base_in1k-448.py']
model = dict(backbone=dict(arch='large'))
