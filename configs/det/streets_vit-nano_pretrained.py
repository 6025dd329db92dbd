# the built-in streets: streets_vit-nano.py from a ViT that has learnt to segment them
_base_ = ['./streets_vit-nano.py']
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/streets_512_vit-nano/iter_2000.pth',
            prefix='backbone.')))
