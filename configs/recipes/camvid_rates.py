# Learning rates of everything that is trained without labels on CamVid: the loss after 200
# iterations. No labels and no test images are read, and the lowest loss decides.
#   python tools/run_recipe.py configs/recipes/camvid_rates.py --metric loss --jobs 2 \
#       --work-dir work_dirs/camvid
linearizer = 'configs/distill/linearizer_adventurer-nano_camvid.py'
adala = 'configs/distill/adala-{}_vit-nano_camvid.py'
from_teacher = {'model.inherit': True, 'model.backbone.init_cfg': None}
high, middle = (1e-3, 3e-3, 1e-2, 3e-2), (3e-4, 1e-3, 3e-3, 1e-2)
kinds = dict(
    attention=(adala.format('attention'), high, {}),
    feature=(adala.format('feature'), middle, from_teacher),
    lolcats=('configs/distill/lolcats_vit-nano_camvid.py', high, {}),
    linearizer=(linearizer, middle, {}),
    activation=(linearizer, middle, {'model.objectives.mask': None}),
    mask=(linearizer, middle, {'model.objectives.activation': None}),
    l2=('configs/distill/l2_adventurer-nano_camvid.py', middle, {}),
    logits=('configs/distill/logits_adventurer-nano_camvid.py', middle, {}))
stages = [dict(name='teacher', config='configs/seg/fcn_vit-nano_camvid.py', iterations=2000)]
for kind, (path, rates, changes) in kinds.items():
    for rate in rates:
        stages.append(
            dict(
                name=f'{kind}_{rate:g}',
                config=path,
                inputs={'model.teacher.checkpoint': 'teacher'},
                iterations=200,
                options={**changes, 'optim_wrapper.optimizer.lr': rate}))
