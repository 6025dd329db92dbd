# CamVid: a softmax ViT of 0.2 M parameters, the teacher where many networks are trained
_base_ = [
    '../_base_/models/fcn_vit-pico.py', '../_base_/datasets/camvid_96x128.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_small.py'
]
model = dict(decode_head=dict(loss_decode=dict(class_weight={{_base_.class_weight}})))
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/camvid_label_rates.py
