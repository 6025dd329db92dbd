# CamVid: EoMT on a small linear ViT from the last stage of ViT-AdaLA
_base_ = ['./eomt_vit-nano_camvid.py']
model = dict(
    backbone=dict(
        attention='linear',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-feature_vit-nano_camvid/student.pth',
            prefix='backbone.')))
