# ablation: activation matching of the class token's similarities only
_base_ = ['./linearizer_adventurer-base_in1k-224.py']
model = dict(objectives=dict(activation=dict(scope='cls')))
