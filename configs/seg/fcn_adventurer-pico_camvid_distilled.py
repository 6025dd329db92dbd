# CamVid: the Adventurer of 0.3 M parameters from the student of
# linearizer_adventurer-pico_camvid.py
_base_ = ['./fcn_adventurer-pico_camvid.py']
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-pico_camvid/student.pth',
            prefix='backbone.')))
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # see ../recipes/camvid_label_rates.py
