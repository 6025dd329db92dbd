# A baseline: class probabilities of the ViT of 0.2 M parameters into the Adventurer of 0.3 M,
# backbone and head, on CamVid's images
_base_ = [
    '../_base_/models/logits_adventurer-pico.py',
    '../_base_/datasets/camvid_images_96x128.py', '../_base_/schedules/adamw_small.py',
    '../_base_/runtime_distill.py'
]
optim_wrapper = dict(optimizer=dict(lr=1e-2))  # that of the other distillations of this size
