# ablation: activation matching among all patches, masked ones too
_base_ = ['./linearizer_adventurer-base_in1k-224.py']
model = dict(objectives=dict(activation=dict(scope='all')))
