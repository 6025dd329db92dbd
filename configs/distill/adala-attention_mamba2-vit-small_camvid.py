# ViT-AdaLA, stage 1, from the pretrained ViT-S into Mamba-2 mixers, on images of CamVid and of
# anything
_base_ = ['./adala-attention_vit-small_camvid.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_small_patch14_dinov2',
        attention='mamba2',
        mamba2_cfg=dict(feature_map='hedgehog')))
