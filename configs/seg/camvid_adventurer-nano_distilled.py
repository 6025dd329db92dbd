# the student from its distilled checkpoint (configs/distill/linearizer_adventurer-nano_camvid.py)
_base_ = ['./camvid_adventurer-nano.py']
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-nano_camvid/student.pth',
            prefix='backbone.')))
