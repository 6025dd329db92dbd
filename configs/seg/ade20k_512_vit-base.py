# the teacher twin of ade20k_512.py: CLIP ViT-B/16 with softmax attention
_base_ = [
    '../_base_/models/upernet_vit-base.py', '../_base_/datasets/ade20k_512x512.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_160k.py'
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(img_size=(512, 512)),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150))
