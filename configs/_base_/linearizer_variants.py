# what the ablations of ViT-Linearizer vary in the stage 'distill'
variants = dict(
    of='distill',
    options={
        'both': {},
        'mask_only': {'model.objectives.activation': None},
        'activation_only': {'model.objectives.mask': None},
        'scope_all': {'model.objectives.activation.scope': 'all'},
        'scope_cls': {'model.objectives.activation.scope': 'cls'},
        'stages_1': {'model.objectives.activation.num_stages': 1},
        'stages_2': {'model.objectives.activation.num_stages': 2},
        'ratio_25': {'model.mask_ratio': 0.25},
        'ratio_50': {'model.mask_ratio': 0.5},
        'ratio_90': {'model.mask_ratio': 0.9},
        'lambda_0.3': {'model.objectives.mask.loss_weight': 0.3},
        'lambda_3': {'model.objectives.mask.loss_weight': 3.0},
        'plain_l2': {
            'model.objectives.activation': None,
            'model.objectives.mask': None,
            'model.mask_ratio': 0.0,
            'model.objectives.feature.type': 'mmvitlin.FeatureAlignmentLoss',
            'model.objectives.feature.normalize_target': True,
        },
    })
