# the control: the teacher's own backbone, softmax, under the budget of the linear one
_base_ = ['./camvid_linear-vit-nano.py']
model = dict(
    backbone=dict(
        attention='softmax', init_cfg=dict(checkpoint='work_dirs/camvid_vit-nano/iter_2000.pth')))
