# ImageNet-1K at 448x448: the Adventurer-B distilled there, fine-tuned with labels
# Published: ViT-Linearizer (arXiv 2504.00037) reports the student at 448x448; crop ratio 1.0 is
#   that of Adventurer (arXiv 2410.07599) at larger sizes.
# Ours: as adventurer-base_in1k-224.py.
_base_ = [
    '../_base_/models/classifier_adventurer-base.py', '../_base_/datasets/imagenet_448.py',
    '../_base_/schedules/finetune_100e.py', '../_base_/runtime_cls.py'
]
model = dict(
    backbone=dict(
        img_size=448,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-448/student.pth',
            prefix='backbone.')))
