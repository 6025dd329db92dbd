# CamVid: a ConvNeXt with a last stride of 8 from its distilled checkpoint
_base_ = ['./camvid_adventurer-nano_short.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmBackbone',
        model_name='convnext_tiny',
        model_kwargs=dict(
            depths=(2, 2, 8, 4), dims=(32, 64, 128, 128), output_stride=8, drop_path_rate=0.1,
            ls_init_value=None),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_convnext-nano_camvid/student.pth',
            prefix='backbone.')))
