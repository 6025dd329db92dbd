# class probabilities of the small ViT of fcn_vit-nano.py -> the small Adventurer, backbone and head
_base_ = ['./fcn_adventurer-nano.py']
model = dict(
    _delete_=True,
    type='mmvitlin.LogitDistillation',
    data_preprocessor=dict(
        type='mmvitlin.ImagePreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    student=dict(  # nothing dropped, as in the other distillations
        _base_.model,
        backbone=dict(_base_.model.backbone, drop_path_rate=0.),
        decode_head=dict(_base_.model.decode_head, dropout_ratio=0.)),
    teacher=dict(
        model=dict(
            _base_.model,
            backbone=dict(
                type='mmvitlin.TimmViT',
                model_name='vit_tiny_patch16_224',
                img_size=(120, 160),
                model_kwargs=dict(patch_size=8, embed_dim=128, depth=8, num_heads=2))),
        checkpoint='work_dirs/fcn_vit-nano_camvid/iter_400.pth'),
    objectives=dict(logits=dict(type='mmvitlin.LogitLoss', temperature=2.0)))
