# as linearizer_adventurer-nano_camvid_short.py, into an MLP-Mixer, which is made for one size
_base_ = ['./linearizer_adventurer-nano_camvid_short.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmBackbone',
        model_name='mlp_mixer.MlpMixer',
        img_size=(120, 160),
        model_kwargs=dict(patch_size=8, embed_dim=128, num_blocks=12)))
