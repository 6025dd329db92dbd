# the student from its distilled checkpoint (configs/distill/linearizer_adventurer-pico_camvid.py)
_base_ = ['./camvid_adventurer-pico.py']
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-pico_camvid/student.pth',
            prefix='backbone.')))
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/camvid_label_rates.py
