# add to a config's _base_ to train in less memory: blocks are computed again in the backward pass
model = dict(backbone=dict(with_cp=True))
