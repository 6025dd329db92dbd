# the built-in streets at 512x1024: the softmax ViT of streets_512_vit-nano.py, made linear and
# trained further at half to twice the size, for tools/resolution_curve.py
_base_ = [
    '../_base_/models/fcn_linear-vit-nano.py', '../_base_/datasets/streets_512x1024_scales.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_600.py'
]
model = dict(
    data_preprocessor=dict(size=(512, 1024), test_cfg=dict(size_divisor=16)),
    backbone=dict(img_size=(256, 512), model_kwargs=dict(patch_size=16)),
    decode_head=dict(num_classes=19))
load_from = 'work_dirs/streets_512_vit-nano/iter_2000.pth'
optim_wrapper = dict(optimizer=dict(lr=5e-4))
