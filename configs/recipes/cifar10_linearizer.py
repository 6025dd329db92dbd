# ViT-Linearizer on CIFAR-10: teacher, distillation, and the same student with and without it
#   python tools/run_recipe.py configs/recipes/cifar10_linearizer.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/cifar10 --metric accuracy/top1
stages = [
    dict(name='teacher', config='configs/cls/cifar10_vit-nano.py', shared=True),
    dict(
        name='distill',
        config='configs/distill/linearizer_adventurer-nano_cifar10.py',
        inputs={'model.teacher.checkpoint': 'teacher'},
        output='student.pth'),
    dict(
        name='distilled',
        config='configs/cls/cifar10_adventurer-nano_distilled.py',
        inputs={'model.backbone.init_cfg.checkpoint': 'distill'}),
    dict(name='scratch', config='configs/cls/cifar10_adventurer-nano.py'),
    dict(name='scratch_long', config='configs/cls/cifar10_adventurer-nano_long.py'),
]
report = dict(
    title='ViT-Linearizer on CIFAR-10 (32×32, patch 4, width 128, 8 blocks)',
    teacher='teacher',
    student='distilled',
    unlabelled=['distill'],
    rows=dict(
        teacher='softmax ViT, trained with labels (the teacher)',
        distilled='Adventurer, distilled without labels, then fine-tuned',
        scratch='Adventurer, the same fine-tuning from scratch',
        scratch_long='Adventurer from scratch, labels for the whole budget'))
