# CamVid: a ConvNeXt with a last stride of 8 from the student of linearizer_convnext-pico_camvid.py
_base_ = ['./fcn_adventurer-pico_camvid.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmBackbone',
        model_name='convnext_tiny',
        model_kwargs=dict(
            depths=(1, 1, 4, 2), dims=(16, 32, 64, 64), output_stride=8, drop_path_rate=0.1,
            ls_init_value=1.0),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_convnext-pico_camvid/student.pth',
            prefix='backbone.')))
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/camvid_label_rates.py
