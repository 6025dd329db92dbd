# Which tokens activation matching compares, with a teacher whose class token was trained: CIFAR-10,
# a ViT that classifies by it, 400 iterations without labels and 200 with as in cifar10_ablation.py,
# whose teacher pools its patches and leaves the class token of the last layer untrained.
#   python tools/run_recipe.py configs/recipes/cifar10_scopes.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/cifar10 --metric accuracy/top1
stages = [
    dict(
        name='teacher_cls',
        config='configs/cls/cifar10_vit-nano.py',
        options={'model.backbone.out_type': 'cls_token'},
        shared=True),
    dict(
        name='distill_from_cls',
        config='configs/distill/linearizer_adventurer-nano_cifar10_short.py',
        inputs={'model.teacher.checkpoint': 'teacher_cls'},
        output='student.pth'),
    dict(
        name='distilled_from_cls',
        config='configs/cls/cifar10_adventurer-nano_short_distilled.py',
        inputs={'model.backbone.init_cfg.checkpoint': 'distill_from_cls'}),
    dict(name='supervised', config='configs/cls/cifar10_adventurer-nano_short.py'),
]
variants = dict(
    of='distill_from_cls',
    options={
        'visible': {},
        'cls': {'model.objectives.activation.scope': 'cls'},
        'all': {'model.objectives.activation.scope': 'all'},
    })
report = dict(
    title='Tokens that activation matching compares, CIFAR-10, a teacher that classifies by its '
    'class token',
    teacher='teacher_cls',
    student='distilled_from_cls-visible',
    unlabelled=['distill_from_cls-visible'],
    rows={
        'distilled_from_cls-visible': 'visible tokens',
        'distilled_from_cls-cls': 'class token',
        'distilled_from_cls-all': 'all tokens',
        'supervised': 'no distillation',
        'teacher_cls': 'the teacher itself',
    })
