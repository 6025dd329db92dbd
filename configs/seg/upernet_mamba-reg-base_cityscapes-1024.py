# Cityscapes: UPerNet on Mamba-Reg-B with the released ImageNet weights. Download them to data/, or
# --cfg-options model.backbone.init_cfg.checkpoint=FILE.
# Published: backbone and weights: Mamba-Reg (arXiv 2405.14858).
# Ours: that it is taken to Cityscapes by the recipe of cityscapes_1024.py.
_base_ = ['./cityscapes_1024.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.MambaReg',
        arch='base',
        img_size=(1024, 1024),
        patch_size=16,
        out_indices=(5, 11, 17, 23),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='data/mambar_base_patch16_224.pth')))
optim_wrapper = dict(paramwise_cfg=dict(
    custom_keys={'A_log': dict(decay_mult=0.), 'A_b_log': dict(decay_mult=0.)}))
