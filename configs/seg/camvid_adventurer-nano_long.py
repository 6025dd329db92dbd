# the control: labels for as many iterations as distillation and fine-tuning together
_base_ = [
    '../_base_/models/fcn_adventurer-nano.py', '../_base_/datasets/camvid_120x160.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_1400.py'
]
model = dict(decode_head=dict(loss_decode=dict(class_weight={{_base_.class_weight}})))
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/camvid_label_rates.py
