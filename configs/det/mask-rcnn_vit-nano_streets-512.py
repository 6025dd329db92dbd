# Drawn streets: the softmax baseline, a small Mask R-CNN on the ViT of fcn_vit-nano_streets-512.py.
# From random weights: --cfg-options model.backbone.init_cfg=None
_base_ = ['./mask-rcnn_adventurer-nano_streets-512.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_tiny_patch16_224',
        img_size=(256, 512),
        model_kwargs=dict(embed_dim=128, depth=8, num_heads=2),
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/fcn_vit-nano_streets-512/iter_400.pth',
            prefix='backbone.')))
