# the ablation of ViT-Linearizer on CamVid: objectives, scope, stages, mask ratio, weight of the
# masks, plain L2 on final features, class probabilities (T = 2), no distillation. Every row but the
# last has the same teacher, 1,000 iterations without labels and 400 with; the last 1,400 with.
#   python tools/run_recipe.py configs/recipes/camvid_ablation.py --seeds 0 1 2 --amp --jobs 2
seg = 'configs/seg/camvid_adventurer-nano_distilled.py'
stages = [
    dict(name='teacher', config='configs/seg/camvid_vit-nano.py'),
    dict(
        name='distill',
        config='configs/distill/linearizer_adventurer-nano_camvid.py',
        inputs={'model.teacher.checkpoint': 'teacher'},
        output='student.pth'),
    dict(name='distilled', config=seg, inputs={'model.backbone.init_cfg.checkpoint': 'distill'}),
    dict(
        name='distill_logits',
        config='configs/distill/logits_adventurer-nano_camvid.py',
        inputs={'model.teacher.checkpoint': 'teacher'},
        output='student.pth'),
    dict(
        name='logits',
        config=seg,
        inputs={'model.backbone.init_cfg.checkpoint': 'distill_logits'}),
    dict(name='scratch', config='configs/seg/camvid_adventurer-nano.py'),
    dict(name='scratch_long', config='configs/seg/camvid_adventurer-nano_long.py'),
]
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
