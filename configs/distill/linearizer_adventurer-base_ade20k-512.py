# dense distillation on ADE20K's images at 512x512.
# From random weights: where the student of ImageNet is at hand, start from it, positions stretched:
# model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.prefix=backbone.
# model.backbone.init_cfg.checkpoint=work_dirs/linearizer_adventurer-base_in1k-224/student.pth
_base_ = [
    '../_base_/models/linearizer_adventurer-base.py',
    '../_base_/datasets/ade20k_images_512x512.py', '../_base_/schedules/distill_80k.py',
    '../_base_/runtime_distill.py'
]
model = dict(backbone=dict(img_size=(512, 512)))
