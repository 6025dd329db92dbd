# A baseline: the small ViT's class probabilities into the small Adventurer, backbone and head, on
# CamVid's images
_base_ = [
    '../_base_/models/logits_adventurer-nano.py',
    '../_base_/datasets/camvid_images_120x160.py', '../_base_/schedules/adamw_small.py',
    '../_base_/runtime_distill.py'
]
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/camvid_rates.py
