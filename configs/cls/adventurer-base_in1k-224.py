# ImageNet-1K: the distilled Adventurer-B fine-tuned with labels
# Published: stage 2 of 3 of Adventurer (arXiv 2410.07599), training recipe: 100 epochs at 224,
#   decay 0.05, drop path 0.4, mixup 0.8, cutmix 1.0, averaged weights, crop ratio 0.875;
#   ViT-Linearizer (arXiv 2504.00037) reports the distilled student.
# Ours: the mean of patches instead of the class token, which distillation does not teach; half the
#   rate, less in earlier blocks, for the weights are learnt already; label smoothing before stage
#   3; clipping. Of the released script's defaults RandAugment is kept; random erasing, repeated
#   augmentation and colours are left out, and weights are averaged over 10,000 steps, not 25,000.
_base_ = [
    '../_base_/models/classifier_adventurer-base.py', '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/finetune_100e.py', '../_base_/runtime_cls.py'
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/linearizer_adventurer-base_in1k-224/student.pth',
            prefix='backbone.')))
