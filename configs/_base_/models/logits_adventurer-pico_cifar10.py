# class probabilities of the small ViT of classifier_vit-pico.py -> the small Adventurer, backbone
# and head
_base_ = ['./classifier_adventurer-pico.py']
model = dict(
    _delete_=True,
    type='mmvitlin.LogitDistillation',
    data_preprocessor=dict(
        type='mmvitlin.ImagePreprocessor',
        mean=[125.307, 122.961, 113.8575],
        std=[51.5865, 50.847, 51.255],
        bgr_to_rgb=True),
    student=dict(  # nothing dropped, as in the other distillations
        _base_.model, backbone=dict(_base_.model.backbone, drop_path_rate=0.)),
    teacher=dict(
        model=dict(
            _base_.model,
            backbone=dict(
                type='mmvitlin.TimmViT',
                model_name='vit_tiny_patch16_224',
                img_size=32,
                model_kwargs=dict(patch_size=4, embed_dim=64, depth=4, num_heads=2),
                out_type='avg_featmap')),
        checkpoint='work_dirs/vit-pico_cifar10/iter_400.pth'),
    objectives=dict(logits=dict(type='mmvitlin.LogitLoss', temperature=2.0)))
