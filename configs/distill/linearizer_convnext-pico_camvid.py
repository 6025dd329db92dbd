# ViT-Linearizer on CamVid's images: the ViT of 0.2 M parameters into a ConvNeXt with a last stride
# of 8
_base_ = ['./linearizer_adventurer-pico_camvid.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmBackbone',
        model_name='convnext_tiny',
        model_kwargs=dict(  # LayerScale from 1: from 1e-6 it takes thousands of steps to open
            depths=(1, 1, 4, 2), dims=(16, 32, 64, 64), output_stride=8,
            ls_init_value=1.0)))
