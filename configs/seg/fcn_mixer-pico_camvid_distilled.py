# CamVid: an MLP-Mixer, which is made for one size, from the student of
# linearizer_mixer-pico_camvid.py
_base_ = ['./fcn_adventurer-pico_camvid.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmBackbone',
        model_name='mlp_mixer.MlpMixer',
        img_size=(96, 128),
        model_kwargs=dict(patch_size=8, embed_dim=64, num_blocks=6, drop_path_rate=0.1),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_mixer-pico_camvid/student.pth',
            prefix='backbone.')))
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/camvid_label_rates.py
