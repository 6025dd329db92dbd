# a switch: the softmax baseline of a config of the linear ViT-L: the same network with the
# attention and the weights that it was published with, all else the same
model = dict(backbone=dict(attention='softmax', pretrained=True, init_cfg=None))
