# class probabilities of the ViT of fcn_vit-pico.py -> the Adventurer of fcn_adventurer-pico.py,
# backbone and head
_base_ = ['./logits_adventurer-nano.py']
head = dict(in_channels=64, channels=64)
model = dict(
    student=dict(
        data_preprocessor=dict(size=(96, 128)),
        backbone=dict(arch=dict(embed_dims=64, num_layers=4), img_size=(96, 128)),
        decode_head=head),
    teacher=dict(
        checkpoint='work_dirs/fcn_vit-pico_camvid/iter_400.pth',
        model=dict(
            data_preprocessor=dict(size=(96, 128)),
            backbone=dict(
                img_size=(96, 128),
                model_kwargs=dict(patch_size=8, embed_dim=64, depth=4, num_heads=2)),
            decode_head=head)))
