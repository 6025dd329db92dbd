# as logits_adventurer-nano_cifar10.py, 400 iterations: the budget of the ablation
_base_ = [
    '../_base_/models/logits_classifier_adventurer-nano.py',
    '../_base_/datasets/cifar10_images.py', '../_base_/schedules/adamw_400.py',
    '../_base_/runtime_distill_cls.py'
]
model = dict(
    student=dict(backbone=dict(drop_path_rate=0.)),  # as in the other distillations
    teacher=dict(
        checkpoint='work_dirs/cifar10_vit-nano/iter_2000.pth',
        model=dict(
            backbone=dict(
                _delete_=True,
                type='mmvitlin.TimmViT',
                model_name='vit_tiny_patch16_224',
                img_size=32,
                model_kwargs=dict(patch_size=4, embed_dim=128, depth=8, num_heads=2),
                out_type='avg_featmap'))))
log_processor = dict(by_epoch=False)
