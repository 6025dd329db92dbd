# Which tokens activation matching compares, with a teacher whose class token was trained: CIFAR-10,
# a ViT that classifies by it, 400 iterations without labels and 200 with as in cifar10_ablation.py,
# whose teacher pools its patches and leaves the class token of the last layer untrained. Each
# student is fine-tuned twice: classifying by its patches, and by its own class token.
#   python tools/run_recipe.py configs/recipes/cifar10_scopes.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/cifar10 --metric accuracy/top1
by_cls = {'model.backbone.out_type': 'cls_token'}
start = 'model.backbone.init_cfg.checkpoint'
tuned = 'configs/cls/cifar10_adventurer-nano_short_distilled.py'
scratch = 'configs/cls/cifar10_adventurer-nano_short.py'
stages = [
    dict(
        name='teacher_cls',
        config='configs/cls/cifar10_vit-nano.py',
        options=by_cls,
        shared=True),
    dict(
        name='distill',
        config='configs/distill/linearizer_adventurer-nano_cifar10_short.py',
        inputs={'model.teacher.checkpoint': 'teacher_cls'},
        output='student.pth'),
    dict(name='distilled', config=tuned, inputs={start: 'distill'}),
    dict(name='distilled_cls', config=tuned, inputs={start: 'distill'}, options=by_cls),
    dict(name='supervised', config=scratch),
    dict(name='supervised_cls', config=scratch, options=by_cls),
]
variants = dict(
    of='distill',
    options={
        'visible': {},
        'cls': {'model.objectives.activation.scope': 'cls'},
        'all': {'model.objectives.activation.scope': 'all'},
    })
report = dict(
    title='Tokens that activation matching compares, CIFAR-10, a teacher that classifies by its '
    'class token',
    teacher='teacher_cls',
    student='distilled-visible',
    unlabelled=['distill-visible'],
    rows={
        'distilled-visible': 'visible tokens',
        'distilled-cls': 'class token',
        'distilled-all': 'all tokens',
        'supervised': 'no distillation',
        'distilled_cls-visible': 'visible tokens, read by the class token',
        'distilled_cls-cls': 'class token, read by the class token',
        'distilled_cls-all': 'all tokens, read by the class token',
        'supervised_cls': 'no distillation, read by the class token',
        'teacher_cls': 'the teacher itself',
    })
