# ViT-Linearizer on CamVid's images: the ViT of 0.2 M parameters into an MLP-Mixer, which is made
# for one size
_base_ = ['./linearizer_adventurer-pico_camvid.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmBackbone',
        model_name='mlp_mixer.MlpMixer',
        img_size=(96, 128),
        model_kwargs=dict(patch_size=8, embed_dim=64, num_blocks=6)))
