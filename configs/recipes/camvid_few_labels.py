# For whom distillation pays: CamVid with the labels of one frame in ten (37 of 367; each seed has
# frames of its own) and all images without labels. Two teachers: one that has seen all labels, as a
# published ViT has seen more than its user has labelled, and one that has seen the few alone.
# Budgets and controls are those of camvid_ablation.py, whose stages are used again: 400 iterations
# without labels and 200 with; labels for all 600, as the second teacher has them.
#   python tools/run_recipe.py configs/recipes/camvid_few_labels.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/camvid
few = {'train_dataloader.dataset.indices': [list(range(n, 367, 10)) for n in range(10)]}
start = 'model.backbone.init_cfg.checkpoint'
teacher = {'model.teacher.checkpoint': 'teacher'}
vit = 'configs/seg/camvid_vit-nano.py'
linearizer = 'configs/distill/linearizer_adventurer-nano_camvid_short.py'
scratch = 'configs/seg/camvid_adventurer-nano_short.py'
tuned = 'configs/seg/camvid_adventurer-nano_short_distilled.py'
plain_l2 = {
    'model.objectives.activation': None,
    'model.objectives.mask': None,
    'model.mask_ratio': 0.0,
    'model.objectives.feature.type': 'mmvitlin.FeatureAlignmentLoss',
    'model.objectives.feature.normalize_target': True,
}
iterations_600 = {
    'train_cfg.max_iters': 600, 'train_cfg.val_interval': 600,
    'default_hooks.checkpoint.interval': 600, 'param_scheduler.0.end': 60,
    'param_scheduler.1.begin': 60, 'param_scheduler.1.end': 600
}
stages = [
    dict(name='teacher', config=vit),
    dict(name='distill-both', config=linearizer, inputs=teacher, output='student.pth'),
    dict(
        name='distill-plain_l2',
        config=linearizer,
        inputs=teacher,
        options=plain_l2,
        output='student.pth'),
    dict(
        name='distill_logits',
        config='configs/distill/logits_adventurer-nano_camvid_short.py',
        inputs=teacher),
    dict(name='few_teacher', config=vit, options=iterations_600, by_seed=few),
    dict(
        name='distill_few_teacher',
        config=linearizer,
        inputs={'model.teacher.checkpoint': 'few_teacher'},
        output='student.pth'),
    dict(name='few_distilled', config=tuned, inputs={start: 'distill-both'}, by_seed=few),
    dict(name='few_distilled_l2', config=tuned, inputs={start: 'distill-plain_l2'}, by_seed=few),
    dict(name='few_logits', config=scratch, inputs={'load_from': 'distill_logits'}, by_seed=few),
    dict(
        name='few_distilled_few',
        config=tuned,
        inputs={start: 'distill_few_teacher'},
        by_seed=few),
    dict(name='few_scratch', config=scratch, by_seed=few),
    dict(name='few_scratch_long', config='configs/seg/camvid_adventurer-nano_600.py', by_seed=few),
]
report = dict(
    title='Few labels: CamVid with one labelled frame in ten',
    teacher='teacher',
    student='few_distilled',
    unlabelled=['distill-both'],
    note='The first teacher has seen the labels of all 367 frames, those without labels for the '
    'student among them: what it hands on is more than the 37 hold. The second has seen the 37 '
    'for 600 iterations, before its student has 400 without labels and 200 with.',
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
