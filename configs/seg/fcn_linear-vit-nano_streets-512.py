# Drawn streets at 512x1024: the softmax ViT of fcn_vit-nano_streets-512.py made linear and trained
# further at half to twice the size, for tools/resolution_curve.py
_base_ = [
    '../_base_/models/fcn_vit-nano.py', '../_base_/datasets/streets_512x1024_scales.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_small.py'
]
# Poles, lights and signs, 1.3% of the pixels together, are not learnt without weights; these are
# the last column of: python tools/check_data.py configs/seg/fcn_vit-nano_streets-512.py
class_weight = [
    0.30, 0.61, 0.32, 1.28, 1.73, 1.76, 3.55, 3.27, 0.69, 1.00, 0.52, 2.16, 2.88, 0.53, 0.85, 0.77,
    0.71, 2.43, 3.55
]
model = dict(
    data_preprocessor=dict(size=(512, 1024), test_cfg=dict(size_divisor=16)),
    backbone=dict(attention='linear', img_size=(256, 512), model_kwargs=dict(patch_size=16)),
    decode_head=dict(num_classes=19, loss_decode=dict(class_weight=class_weight)))
load_from = 'work_dirs/fcn_vit-nano_streets-512/iter_400.pth'
