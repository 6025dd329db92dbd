# Drawn streets: EoMT on the small softmax ViT of fcn_vit-nano_streets.py
_base_ = [
    '../_base_/models/eomt_vit-nano.py', '../_base_/datasets/streets_256x512.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_small.py'
]
model = dict(
    data_preprocessor=dict(size=(192, 384), test_cfg=dict(size_divisor=16)),
    backbone=dict(img_size=(192, 384), model_kwargs=dict(patch_size=16)),
    decode_head=dict(num_classes=19, num_upscales=2))
