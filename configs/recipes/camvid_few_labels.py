# For whom distillation pays: CamVid with the labels of one frame in ten (37 of 367; each seed has
# frames of its own) and all images without labels. Two teachers: one that has seen all labels, as a
# published ViT has seen more than its user has labelled, and one that has seen the few alone.
# Budgets and controls are those of camvid_ablation.py, whose stages are used again: 300 iterations
# without labels and 150 with; labels for all 450, as the second teacher has them.
#   python tools/run_recipe.py configs/recipes/camvid_few_labels.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/camvid_pico
few = {'train_dataloader.dataset.indices': [list(range(n, 367, 10)) for n in range(10)]}
start = 'model.backbone.init_cfg.checkpoint'
teacher = {'model.teacher.checkpoint': 'teacher'}
vit = 'configs/seg/camvid_vit-pico.py'
linearizer = 'configs/distill/linearizer_adventurer-pico_camvid.py'
scratch = 'configs/seg/camvid_adventurer-pico.py'
tuned = 'configs/seg/camvid_adventurer-pico_distilled.py'
plain_l2 = {
    'model.objectives.activation': None,
    'model.objectives.mask': None,
    'model.mask_ratio': 0.0,
    'model.objectives.feature.type': 'mmvitlin.FeatureAlignmentLoss',
    'model.objectives.feature.normalize_target': True,
}
stages = [
    dict(name='teacher', config=vit),
    dict(
        name='distill-both',
        config=linearizer,
        inputs=teacher,
        iterations=300,
        output='student.pth'),
    dict(
        name='distill-plain_l2',
        config=linearizer,
        inputs=teacher,
        options=plain_l2,
        iterations=300,
        output='student.pth'),
    dict(
        name='distill_logits',
        config='configs/distill/logits_adventurer-pico_camvid.py',
        inputs=teacher,
        iterations=300),
    dict(name='few_teacher', config=vit, iterations=450, by_seed=few),
    dict(
        name='distill_few_teacher',
        config=linearizer,
        inputs={'model.teacher.checkpoint': 'few_teacher'},
        iterations=300,
        output='student.pth'),
    dict(name='few_distilled', config=tuned, inputs={start: 'distill-both'}, iterations=150,
         by_seed=few),
    dict(name='few_distilled_l2', config=tuned, inputs={start: 'distill-plain_l2'}, iterations=150,
         by_seed=few),
    dict(
        name='few_logits',
        config=scratch,
        inputs={'load_from': 'distill_logits'},
        options={'optim_wrapper.optimizer.lr': 3e-3},  # that of all that starts distilled
        iterations=150,
        by_seed=few),
    dict(
        name='few_distilled_few',
        config=tuned,
        inputs={start: 'distill_few_teacher'},
        iterations=150,
        by_seed=few),
    dict(name='few_scratch', config=scratch, iterations=150, by_seed=few),
    dict(name='few_scratch_long', config=scratch, iterations=450, by_seed=few),
]
report = dict(
    title='Few labels: CamVid with one labelled frame in ten',
    teacher='teacher',
    student='few_distilled',
    unlabelled=['distill-both'],
    note='The first teacher has seen the labels of all 367 frames, those without labels for the '
    'student among them: what it hands on is more than the 37 hold. The second has seen the 37 '
    'for 450 iterations, before its student has 300 without labels and 150 with.',
    rows=dict(
        teacher='softmax ViT, trained with all labels (the teacher)',
        few_teacher='softmax ViT, trained with the few labels (the second teacher)',
        few_distilled='Adventurer, distilled on all images, fine-tuned with few labels',
        few_distilled_l2='Adventurer, plain L2 on final features, fine-tuned with few labels',
        few_logits="Adventurer, the teacher's class probabilities on all images, fine-tuned with "
        'few labels, the head that the probabilities trained',
        few_distilled_few='Adventurer, distilled on all images from the second teacher, '
        'fine-tuned with few labels',
        few_scratch='Adventurer, the same fine-tuning from scratch',
        few_scratch_long='Adventurer from scratch, few labels for the whole budget'))
