# Learning rates on CIFAR-10, with labels and without: the loss of the last 50 of 200 iterations, of
# 300 for the teacher. In so few no image comes twice, so that this is the loss on unseen images; no
# score decides.
#   python tools/run_recipe.py configs/recipes/cifar10_rates.py --metric loss --jobs 2 \
#       --work-dir work_dirs/cifar10


def iterations(count):
    return {
        'train_cfg.max_iters': count, 'train_cfg.val_interval': count,
        'default_hooks.checkpoint.interval': count, 'param_scheduler.0.end': count // 10,
        'param_scheduler.1.begin': count // 10, 'param_scheduler.1.end': count
    }


linearizer = 'configs/distill/linearizer_adventurer-nano_cifar10_short.py'
kinds = dict(
    vit=('configs/cls/cifar10_vit-nano.py', iterations(300)),
    scratch=('configs/cls/cifar10_adventurer-nano_short.py', {}),
    linearizer=(linearizer, iterations(200)),
    l2=(linearizer, {
        **iterations(200), 'model.objectives.activation': None, 'model.objectives.mask': None,
        'model.mask_ratio': 0.0, 'model.objectives.feature.type': 'mmvitlin.FeatureAlignmentLoss',
        'model.objectives.feature.normalize_target': True
    }),
    logits=('configs/distill/logits_adventurer-nano_cifar10_short.py', iterations(200)))
stages = [dict(name='teacher', config='configs/cls/cifar10_vit-nano.py', shared=True)]
for kind, (path, changes) in kinds.items():
    taught = kind not in ('vit', 'scratch')
    for rate in (1e-3, 3e-3, 1e-2):
        stages.append(
            dict(
                name=f'{kind}_{rate:g}',
                config=path,
                inputs={'model.teacher.checkpoint': 'teacher'} if taught else {},
                options={**changes, 'optim_wrapper.optimizer.lr': rate}))
