# ablation: activation matching alone
_base_ = ['./linearizer_adventurer-base_in1k-224.py']
model = dict(objectives=dict(mask=None))
