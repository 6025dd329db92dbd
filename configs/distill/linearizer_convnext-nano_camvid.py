# as linearizer_adventurer-nano_camvid_short.py, into a ConvNeXt with a last stride of 8
_base_ = ['./linearizer_adventurer-nano_camvid_short.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmBackbone',
        model_name='convnext_tiny',
        model_kwargs=dict(  # no LayerScale from 1e-6: it takes thousands of steps to open
            depths=(2, 2, 8, 4), dims=(32, 64, 128, 128), output_stride=8,
            ls_init_value=None)))
