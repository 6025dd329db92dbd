# ADE20K: UPerNet on a distilled Adventurer-B, 512x512 crops, 160k iterations, batch 16.
# Tests see whole images. In windows, as published numbers of plain ViTs are measured:
# model.test_cfg.mode=slide model.test_cfg.crop_size=512,512 model.test_cfg.stride=341,341
_base_ = [
    '../_base_/models/upernet_adventurer-base.py', '../_base_/datasets/ade20k_512x512.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_160k.py'
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        img_size=(512, 512),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150))
