# a switch: train in less memory: blocks are computed again in the backward pass
model = dict(backbone=dict(with_cp=True))
