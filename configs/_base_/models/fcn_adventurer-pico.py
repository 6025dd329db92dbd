# an Adventurer of 64 channels and 4 blocks on 8-pixel patches of 96x128 crops: 0.3 M parameters
_base_ = ['./fcn_adventurer-nano.py']
model = dict(
    data_preprocessor=dict(size=(96, 128)),
    backbone=dict(arch=dict(embed_dims=64, num_layers=4), img_size=(96, 128)),
    decode_head=dict(in_channels=64, channels=64))
