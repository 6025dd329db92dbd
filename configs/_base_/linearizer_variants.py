# what the ablations of ViT-Linearizer vary in the stage 'distill'
_base_ = ['plain_l2.py']
variants = dict(
    of='distill',
    options={
        'both': {},
        'mask_only': {'model.objectives.activation': None},
        'activation_only': {'model.objectives.mask': None},
        'activation_unmasked': {'model.objectives.mask': None, 'model.mask_ratio': 0.0},
        'scope_all': {'model.objectives.activation.scope': 'all'},
        'scope_cls': {'model.objectives.activation.scope': 'cls'},
        'stages_1': {'model.objectives.activation.num_stages': 1},
        'stages_2': {'model.objectives.activation.num_stages': 2},
        'ratio_25': {'model.mask_ratio': 0.25},
        'ratio_50': {'model.mask_ratio': 0.5},
        'ratio_90': {'model.mask_ratio': 0.9},
        'lambda_0.3': {'model.objectives.mask.loss_weight': 0.3},
        'lambda_3': {'model.objectives.mask.loss_weight': 3.0},
        'plain_l2': {{_base_.plain_l2}},
    })
report = dict(
    teacher='teacher',
    student='distilled-both',
    unlabelled=['distill-both'],
    note='Where labels are counted, the 2,000 iterations that the teacher had of the same images '
    'are not: this is about the order of the rows, not about what a teacher is worth that knows '
    'more than its student can be shown.',
    rows={
        'distilled-both': 'ViT-Linearizer (visible tokens, 4 stages, mask 0.75, λ 1)',
        'distilled-activation_only': 'activation matching only',
        'distilled-activation_unmasked': 'activation matching only, nothing masked',
        'distilled-mask_only': 'masked prediction only',
        'distilled-scope_all': 'scope: all tokens',
        'distilled-scope_cls': 'scope: class token (its last layer is not trained in this teacher)',
        'distilled-stages_1': 'K = 1 stage',
        'distilled-stages_2': 'K = 2 stages',
        'distilled-ratio_25': 'mask ratio 0.25',
        'distilled-ratio_50': 'mask ratio 0.5',
        'distilled-ratio_90': 'mask ratio 0.9',
        'distilled-lambda_0.3': 'λ 0.3',
        'distilled-lambda_3': 'λ 3',
        'distilled-plain_l2': 'plain L2 on final features, nothing masked',
        'logits': 'class probabilities of the teacher (T = 2), a new head',
        'logits_head': 'class probabilities of the teacher (T = 2), the head they trained',
        'supervised': 'no distillation',
        'supervised_long': 'labels only, same total iterations',
        'teacher': 'the teacher itself',
    })
