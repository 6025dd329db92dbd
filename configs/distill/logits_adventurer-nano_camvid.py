# a baseline on CamVid: the small ViT's class probabilities -> Adventurer, backbone and head
_base_ = [
    '../_base_/models/logits_vit-nano_adventurer-nano.py',
    '../_base_/datasets/camvid_images_120x160.py', '../_base_/schedules/adamw_1000.py',
    '../_base_/runtime_distill.py'
]
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/camvid_rates.py
