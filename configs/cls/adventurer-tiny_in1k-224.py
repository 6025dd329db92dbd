# ImageNet-1K: the distilled Adventurer-T fine-tuned with labels
# Published: Adventurer (arXiv 2410.07599) has Adventurer-T, trained with labels only; as
#   adventurer-base_in1k-224.py otherwise.
# Ours: the drop path rate of this size; as there otherwise.
_base_ = ['./adventurer-base_in1k-224.py']
model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='work_dirs/linearizer_adventurer-tiny_in1k-224/student.pth')),
    head=dict(in_channels=256))
