# a classifier that learns another's class probabilities; the teacher's backbone is to be put in
_base_ = ['./classifier_adventurer-pico.py']
model = dict(
    _delete_=True,
    type='mmvitlin.LogitDistillation',
    data_preprocessor=dict(
        type='mmengine.ImgDataPreprocessor',
        mean=[125.307, 122.961, 113.8575],
        std=[51.5865, 50.847, 51.255],
        bgr_to_rgb=True),
    student={{_base_.model}},
    teacher=dict(model={{_base_.model}}, checkpoint=None),
    temperature=2.0)
