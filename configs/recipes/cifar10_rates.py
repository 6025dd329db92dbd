# Learning rates on CIFAR-10, with labels and without: the loss of the last 50 of 200 iterations, of
# 300 for the teacher, of 150 for a student with labels. In so few no image comes twice, so that
# this is the loss on unseen images; no score decides.
#   python tools/run_recipe.py configs/recipes/cifar10_rates.py --metric loss --jobs 2 \
#       --work-dir work_dirs/cifar10
_base_ = ['../_base_/plain_l2.py']
linearizer = 'configs/distill/linearizer_adventurer-pico_cifar10.py'
kinds = dict(
    vit=('configs/cls/vit-pico_cifar10.py', 300, {}),
    scratch=('configs/cls/adventurer-pico_cifar10.py', 150, {}),
    linearizer=(linearizer, 200, {}),
    l2=(linearizer, 200, _base_.plain_l2),
    logits=('configs/distill/logits_adventurer-pico_cifar10.py', 200, {}))
stages = [
    dict(name='teacher', config='configs/cls/vit-pico_cifar10.py', iterations=2000, shared=True)
]
for kind, (path, count, changes) in kinds.items():
    taught = kind not in ('vit', 'scratch')
    for rate in (1e-3, 3e-3, 1e-2):
        stages.append(
            dict(
                name=f'{kind}_{rate:g}',
                config=path,
                inputs={'model.teacher.checkpoint': 'teacher'} if taught else {},
                iterations=count,
                output='student.pth' if kind == 'linearizer' else '',
                options={**changes, 'optim_wrapper.optimizer.lr': rate}))
# fine-tuned, what the rate in the middle distilled
for rate in (1e-3, 3e-3, 1e-2):
    stages.append(
        dict(
            name=f'distilled_{rate:g}',
            config='configs/cls/adventurer-pico_cifar10_distilled.py',
            inputs={'model.backbone.init_cfg.checkpoint': 'linearizer_0.003'},
            iterations=150,
            options={'optim_wrapper.optimizer.lr': rate}))
