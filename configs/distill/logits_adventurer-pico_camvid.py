# a baseline on CamVid: the ViT's class probabilities -> Adventurer, backbone and head
_base_ = [
    '../_base_/models/logits_vit-pico_adventurer-pico.py',
    '../_base_/datasets/camvid_images_96x128.py', '../_base_/schedules/adamw_1000.py',
    '../_base_/runtime_distill.py'
]
optim_wrapper = dict(optimizer=dict(lr=1e-2))  # that of the other distillations of this size
