# the same teacher into Adventurer-T; widths differ, so a linear projector is added
_base_ = ['./linearizer_adventurer-base_in1k-224.py']
model = dict(backbone=dict(arch='tiny'))
