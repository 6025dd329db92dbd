# CamVid: EoMT on a small Adventurer from scratch, whose scans take no masks
_base_ = ['./eomt_vit-nano_camvid.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.Adventurer',
        arch=dict(embed_dims=128, num_layers=8),
        img_size=(120, 160),
        patch_size=8,
        out_type='stream',
        out_indices=4,
        drop_path_rate=0.1))
custom_hooks = []
