# EoMT's head on Adventurer-B, which is ours: queries stand behind the patches, where the scans of
# both directions have passed every patch. A scan has one state for all queries, so none is masked.
_base_ = ['./eomt_vit-base.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvitlin.Adventurer',
        arch='base',
        img_size=(1024, 1024),
        patch_size=16,
        out_type='stream',
        out_indices=8,
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')))
custom_hooks = []
