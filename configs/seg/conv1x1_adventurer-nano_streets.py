# Drawn streets: a small Adventurer, from the student of phi-s_vit-small_adventurer-nano_streets.py
_base_ = ['./conv1x1_vit-small_streets.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.Adventurer',
        arch=dict(embed_dims=128, num_layers=8),
        img_size=(140, 280),
        patch_size=14,
        out_indices=(1, 3, 5, 7),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/phi-s_vit-small_adventurer-nano_streets/student.pth',
            prefix='backbone.')),
    decode_head=dict(in_channels=[128, 128, 128, 128]))
