# CamVid: an MLP-Mixer, which is made for one size from its distilled checkpoint
_base_ = ['./camvid_adventurer-nano_short.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmBackbone',
        model_name='mlp_mixer.MlpMixer',
        img_size=(120, 160),
        model_kwargs=dict(patch_size=8, embed_dim=128, num_blocks=12, drop_path_rate=0.1),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_mixer-nano_camvid/student.pth',
            prefix='backbone.')))
