# Cityscapes at full resolution: UPerNet on a distilled Adventurer-B, 1024x1024 crops.
#   python tools/train.py configs/seg/cityscapes_1024.py
# The backbone starts from the student that configs/distill/linearizer_adventurer-base_in1k-224.py
# wrote. Elsewhere: --cfg-options model.backbone.init_cfg.checkpoint=FILE; from scratch:
# --cfg-options model.backbone.init_cfg=None; other data in the Cityscapes layout: data_root=FOLDER.
# Tests see whole images, twice as wide as the crops that positions were learnt on. Windows of a
# crop's size instead: model.test_cfg.mode=slide model.test_cfg.crop_size=1024,1024
# model.test_cfg.stride=768,768.
_base_ = [
    '../_base_/models/upernet_adventurer-base.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_80k.py'
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')))
