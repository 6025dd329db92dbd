# ade20k_512.py at 640x640.
# Tests see whole images. In windows, as published numbers of plain ViTs are measured:
# model.test_cfg.mode=slide model.test_cfg.crop_size=640,640 model.test_cfg.stride=426,426
_base_ = [
    '../_base_/models/upernet_adventurer-base.py', '../_base_/datasets/ade20k_640x640.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_160k.py'
]
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        img_size=(640, 640),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150))
