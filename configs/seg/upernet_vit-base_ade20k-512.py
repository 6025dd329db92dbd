# ADE20K: the softmax baseline, UPerNet on CLIP ViT-B/16, the teacher, 512x512 crops
# Published: ViT-Linearizer (arXiv 2504.00037) reports this teacher on ADE20K.
# Ours: the recipe of upernet_adventurer-base_ade20k-512.py, so that backbones are compared; whole
#   images in the test, in which ViTs do better (docs/results/highres_camvid.json).
_base_ = ['./upernet_adventurer-base_ade20k-512.py', '../_base_/models/vit_backbones.py']
model = dict(
    data_preprocessor=_base_.clip_normalization,
    backbone=dict(
        _delete_=True,
        **_base_.clip_vit_base,
        img_size=(512, 512),
        out_indices=(2, 5, 8, 11)),
    test_cfg=dict(_delete_=True, mode='whole'))
