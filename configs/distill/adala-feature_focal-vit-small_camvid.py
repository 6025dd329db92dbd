# ViT-AdaLA, stage 2, from the pretrained ViT-S into focal attention, on images of CamVid and of
# anything
_base_ = ['./adala-feature_vit-small_camvid.py']
model = dict(
    backbone=dict(
        attention='focal',
        init_cfg=dict(
            checkpoint='work_dirs/adala-attention_focal-vit-small_camvid/student.pth')))
