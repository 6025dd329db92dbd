# Which tokens activation matching compares, with a teacher whose class token was trained: CIFAR-10,
# a ViT that classifies by it, 300 iterations without labels and 150 with as in cifar10_ablation.py,
# whose teacher pools its patches and leaves the class token of the last layer untrained. Each
# student is fine-tuned twice: classifying by its patches, and by its own class token.
#   python tools/run_recipe.py configs/recipes/cifar10_scopes.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/cifar10 --metric accuracy/top1
by_cls = {'model.backbone.out_type': 'cls_token'}
start = 'model.backbone.init_cfg.checkpoint'
tuned = 'configs/cls/adventurer-pico_cifar10_distilled.py'
scratch = 'configs/cls/adventurer-pico_cifar10.py'
stages = [
    dict(
        name='teacher_cls',
        config='configs/cls/vit-pico_cifar10.py',
        iterations=2000,
        options=by_cls,
        shared=True),
    dict(
        name='distill',
        config='configs/distill/linearizer_adventurer-pico_cifar10.py',
        inputs={'model.teacher.checkpoint': 'teacher_cls'},
        iterations=300,
        output='student.pth'),
    dict(name='distilled', config=tuned, inputs={start: 'distill'}, iterations=150),
    dict(
        name='distilled_cls',
        config=tuned,
        inputs={start: 'distill'},
        options=by_cls,
        iterations=150),
    dict(name='supervised', config=scratch, iterations=150),
    dict(name='supervised_cls', config=scratch, options=by_cls, iterations=150),
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
