# COCO: EoMT for things and stuff on a distilled Adventurer-B, whose scans take no masks
# Published: as eomt-panoptic_vit-base_coco-1024.py, with softmax attention.
# Ours: its head on scans, without masks.
_base_ = [
    '../_base_/models/eomt-panoptic_vit-base.py', '../_base_/datasets/coco_panoptic_1024.py',
    '../_base_/runtime_det.py', '../_base_/schedules/eomt_24e.py'
]
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
default_hooks = dict(checkpoint=dict(save_best='panoptic/PQ', rule='greater'))
