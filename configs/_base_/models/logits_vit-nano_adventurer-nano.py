# class probabilities of the small ViT of fcn_vit-nano.py -> the small Adventurer, backbone and head
_base_ = ['./logits_adventurer-nano.py']
model = dict(
    # as in the other distillations
    student=dict(backbone=dict(drop_path_rate=0.), decode_head=dict(dropout_ratio=0.)),
    teacher=dict(
        checkpoint='work_dirs/camvid_vit-nano/iter_2000.pth',
        model=dict(
            backbone=dict(
                _delete_=True,
                type='mmvitlin.TimmViT',
                model_name='vit_tiny_patch16_224',
                img_size=(120, 160),
                model_kwargs=dict(patch_size=8, embed_dim=128, depth=8, num_heads=2)))))
