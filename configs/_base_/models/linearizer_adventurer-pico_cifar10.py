# ViT-Linearizer between the small networks of classifier_{vit,adventurer}-pico.py
_base_ = ['./linearizer_adventurer-pico.py']
normalisation = dict(mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255])
model = dict(
    data_preprocessor=normalisation,
    backbone=dict(img_size=32, patch_size=4),
    teacher=dict(
        **normalisation,
        backbone=dict(img_size=32, model_kwargs=dict(patch_size=4)),
        checkpoint='work_dirs/vit-pico_cifar10/iter_400.pth'))
