# ViT-AdaLA, stage 2, from the pretrained ViT-S into Mamba-2 mixers, on drawn streets
_base_ = ['./adala-feature_focal-vit-small_streets.py']
model = dict(
    backbone=dict(
        attention='mamba2',
        mamba2_cfg=dict(feature_map='hedgehog'),
        init_cfg=dict(checkpoint='work_dirs/adala-attention_mamba2-vit-small_streets/student.pth')))
