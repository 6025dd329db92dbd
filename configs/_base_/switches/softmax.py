# a switch: the softmax baseline of a config of the linear ViT-L: the same network with the
# attention and the weights that it was published with, all else the same
order = 1  # after switches that name another network, whose published weights it takes
model = dict(backbone=dict(attention='softmax', pretrained=True, init_cfg=None))
