# ImageNet-1K: the distilled Adventurer-L fine-tuned with labels
# Published: Adventurer (arXiv 2410.07599) has Adventurer-L, trained with labels only;
#   ViT-Linearizer (arXiv 2504.00037) reports the distilled one; as adventurer-base_in1k-224.py
#   otherwise.
# Ours: the drop path rate of this size; as there otherwise.
_base_ = ['./adventurer-base_in1k-224.py']
model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint='work_dirs/linearizer_adventurer-large_in1k-224/student.pth')),
    head=dict(in_channels=1024))
