# a segmentor that learns another's class probabilities; the teacher's backbone is to be put in
_base_ = ['./fcn_adventurer-nano.py']
model = dict(
    _delete_=True,
    type='mmvitlin.LogitDistillation',
    data_preprocessor=dict(
        type='mmengine.ImgDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    student={{_base_.model}},
    teacher=dict(model={{_base_.model}}, checkpoint=None),
    temperature=2.0)
