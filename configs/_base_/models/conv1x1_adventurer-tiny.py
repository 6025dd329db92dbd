# Adventurer-T on patches of 14 pixels, and a 1x1 convolution on four depths of it
_base_ = ['./conv1x1_vit-small.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.Adventurer',
        arch='tiny',
        img_size=(168, 224),
        patch_size=14,
        out_indices=(2, 5, 8, 11),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_vit-small_adventurer-tiny_camvid/student.pth',
            prefix='backbone.')),
    decode_head=dict(in_channels=[256, 256, 256, 256]))
