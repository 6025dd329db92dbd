# Learning rates for camvid_adala.py: the loss of each kind of alignment after 200 iterations.
# No labels and no test images are read, and the lowest loss decides.
#   python tools/run_recipe.py configs/recipes/camvid_adala_rates.py --metric loss
short = {
    'train_cfg.max_iters': 200, 'train_cfg.val_interval': 200,
    'default_hooks.checkpoint.interval': 200, 'param_scheduler.0.end': 20,
    'param_scheduler.1.begin': 20, 'param_scheduler.1.end': 200
}
kinds = dict(
    attention=('configs/distill/adala-attention_vit-nano_camvid_long.py', (1e-3, 3e-3, 1e-2)),
    feature=('configs/distill/adala-feature_vit-nano_camvid_long.py', (3e-4, 1e-3, 3e-3)),
    lolcats=('configs/distill/lolcats_vit-nano_camvid.py', (1e-3, 3e-3, 1e-2)))
stages = [dict(name='teacher', config='configs/seg/camvid_vit-nano.py')]
for kind, (path, rates) in kinds.items():
    for rate in rates:
        stages.append(
            dict(
                name=f'{kind}_{rate:g}',
                config=path,
                inputs={'model.teacher.checkpoint': 'teacher'},
                options={**short, 'optim_wrapper.optimizer.lr': rate}))
