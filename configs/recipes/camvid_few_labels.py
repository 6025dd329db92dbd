# With few labels: CamVid with the labels of one frame in ten (37 of 367) and of one in
# ninety-two (4; each seed has frames of its own), and all images without labels. Two teachers: one
# that has seen all labels, as a published ViT has seen more than its user has labelled, and one
# that has seen only these. Budgets and controls are those of camvid_ablation.py, whose stages
# are used again: 300 iterations without labels and 150 with; labels for all 450, as the second
# teacher has them.
#   python tools/run_recipe.py configs/recipes/camvid_few_labels.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/camvid_pico
_base_ = ['../_base_/plain_l2.py']
count = 367
frames = 'train_dataloader.dataset.indices'
amounts = dict(  # prefix of stages → frames by seed
    few={frames: [list(range(n, count, 10)) for n in range(10)]},
    fewest={frames: [list(range(n, count, 92)) for n in range(10)]})
start = 'model.backbone.init_cfg.checkpoint'
vit = 'configs/seg/fcn_vit-pico_camvid.py'
linearizer = 'configs/distill/linearizer_adventurer-pico_camvid.py'
scratch = 'configs/seg/fcn_adventurer-pico_camvid.py'
tuned = 'configs/seg/fcn_adventurer-pico_camvid_distilled.py'
head_kept = dict(
    config=scratch,
    inputs={'load_from': 'distill_logits'},
    options={'optim_wrapper.optimizer.lr': 3e-3},  # that of all that starts distilled
    iterations=150)
teacher = {'model.teacher.checkpoint': 'teacher'}
taught = dict(config=linearizer, inputs=teacher, iterations=300, output='student.pth')
stages = [
    dict(name='teacher', config=vit, iterations=2000),
    dict(name='distill-both', **taught),
    dict(name='distill-plain_l2', options={{_base_.plain_l2}}, **taught),
    dict(
        name='distill_logits',
        config='configs/distill/logits_adventurer-pico_camvid.py',
        inputs=teacher,
        iterations=300),
    dict(name='distilled-both', config=tuned, inputs={start: 'distill-both'}, iterations=150),
    dict(
        name='distilled-plain_l2', config=tuned, inputs={start: 'distill-plain_l2'},
        iterations=150),
    dict(name='logits_head', **head_kept),
    dict(name='supervised', config=scratch, iterations=150),
    dict(name='supervised_long', config=scratch, iterations=450),
]
for few, labels in amounts.items():
    stages += [
        dict(name=f'{few}_teacher', config=vit, iterations=450, by_seed=labels),
        dict(
            name=f'distill_{few}_teacher',
            **{**taught, 'inputs': {'model.teacher.checkpoint': f'{few}_teacher'}}),
        dict(
            name=f'{few}_distilled', config=tuned, inputs={start: 'distill-both'}, iterations=150,
            by_seed=labels),
        dict(
            name=f'{few}_distilled_l2', config=tuned, inputs={start: 'distill-plain_l2'},
            iterations=150, by_seed=labels),
        dict(name=f'{few}_logits', by_seed=labels, **head_kept),
        dict(
            name=f'{few}_distilled_few', config=tuned, inputs={start: f'distill_{few}_teacher'},
            iterations=150, by_seed=labels),
        dict(name=f'{few}_scratch', config=scratch, iterations=150, by_seed=labels),
        dict(name=f'{few}_scratch_long', config=scratch, iterations=450, by_seed=labels),
    ]
ways = dict(  # row → what it is, its stage with all labels
    distilled=('ViT-Linearizer on all images', 'distilled-both'),
    distilled_l2=('plain L2 on final features of all images', 'distilled-plain_l2'),
    logits=("the teacher's class probabilities on all images, their head kept", 'logits_head'),
    distilled_few=('ViT-Linearizer on all images, from a ViT that saw only these frames', None),
    scratch=('no distillation', 'supervised'),
    scratch_long=('labels only, same total iterations', 'supervised_long'),
    teacher=('softmax ViT with only these frames; with all of them, the teacher', 'teacher'))
report = dict(
    title='Few labels: CamVid, by the number of labelled frames',
    teacher='teacher',
    student='few_distilled',
    unlabelled=['distill-both'],
    note='The teacher has seen the labels of all 367 frames, those without labels for the student '
    'among them, for 2,000 iterations: what it hands on is more than the few hold. The other ViT '
    'has seen the few alone for 450 iterations, before its student has 300 without labels and 150 '
    'with.',
    rows={
        **{whole: text for text, whole in ways.values() if whole},
        **{f'{few}_{way}': f'{text}, {len(by_seed[0])} labelled frames'
           for few, labels in amounts.items() for by_seed in labels.values()
           for way, (text, _) in ways.items()}
    })
