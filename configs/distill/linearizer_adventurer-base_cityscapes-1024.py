# dense distillation on Cityscapes' images at 1024x1024: 4096 tokens, 1024 of them visible; with
# scope='all' or larger crops the loss switches to its linear form, which builds no map.
# From random weights: where the student of ImageNet is at hand, start from it, positions stretched:
# model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.prefix=backbone.
# model.backbone.init_cfg.checkpoint=work_dirs/linearizer_adventurer-base_in1k-224/student.pth
_base_ = [
    '../_base_/models/linearizer_adventurer-base.py',
    '../_base_/datasets/cityscapes_images_1024x1024.py', '../_base_/schedules/distill_80k.py',
    '../_base_/runtime_distill.py'
]
model = dict(backbone=dict(img_size=(1024, 1024)))
