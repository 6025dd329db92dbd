# a switch: segmentation or detection starts from the Adventurer-B that was distilled at 448x448
# (configs/distill/linearizer_adventurer-base_in1k-448.py): its positions and scans have seen four
# times the tokens
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-448/student.pth',
            prefix='backbone.')))
