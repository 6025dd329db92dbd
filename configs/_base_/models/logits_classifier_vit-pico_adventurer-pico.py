# class probabilities of the small ViT of classifier_vit-pico.py -> the small Adventurer, backbone
# and head
_base_ = ['./logits_classifier_adventurer-pico.py']
model = dict(
    student=dict(backbone=dict(drop_path_rate=0.)),  # as in the other distillations
    teacher=dict(
        checkpoint='work_dirs/cifar10_vit-pico/iter_2000.pth',
        model=dict(
            backbone=dict(
                _delete_=True,
                type='mmvitlin.TimmViT',
                model_name='vit_tiny_patch16_224',
                img_size=32,
                model_kwargs=dict(patch_size=4, embed_dim=64, depth=4, num_heads=2),
                out_type='avg_featmap'))))
