# eomt_vit-base.py with linear attention; its masks are ours, as EoMT was published with softmax
_base_ = ['./eomt_vit-base.py']
model = dict(
    backbone=dict(
        attention='linear',
        pretrained=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/adala-feature_dinov2-base_in1k-448/student.pth',
            prefix='backbone.')))
