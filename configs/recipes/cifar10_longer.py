# Is plain L2 still ahead of ViT-Linearizer, as in cifar10_ablation.py, when distillation is longer?
# CIFAR-10, the stages of that recipe, and the same with 1,000 iterations without labels instead
# of 300: two thirds of the 50,000 images are seen, not a fifth.
#   python tools/run_recipe.py configs/recipes/cifar10_longer.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/cifar10 --metric accuracy/top1
_base_ = ['../_base_/plain_l2.py']
ways = dict(both={}, plain_l2={{_base_.plain_l2}})
start = 'model.backbone.init_cfg.checkpoint'
scratch = 'configs/cls/adventurer-pico_cifar10.py'
stages = [
    dict(name='teacher', config='configs/cls/vit-pico_cifar10.py', iterations=2000, shared=True)
]
for long, count in {'': 300, '_long': 1000}.items():
    for way, options in ways.items():
        stages += [
            dict(
                name=f'distill{long}-{way}',
                config='configs/distill/linearizer_adventurer-pico_cifar10.py',
                inputs={'model.teacher.checkpoint': 'teacher'},
                iterations=count,
                output='student.pth',
                options=options),
            dict(
                name=f'distilled{long}-{way}',
                config='configs/cls/adventurer-pico_cifar10_distilled.py',
                inputs={start: f'distill{long}-{way}'},
                iterations=150)
        ]
stages += [
    dict(name='supervised', config=scratch, iterations=150),
    dict(name='supervised_long', config=scratch, iterations=450),
    dict(name='supervised_longest', config=scratch, iterations=1150),
]
report = dict(
    title='ViT-Linearizer and plain L2 on CIFAR-10, distilled for 300 and for 1,000 iterations',
    teacher='teacher',
    student='distilled_long-both',
    unlabelled=['distill_long-both'],
    rows={
        'distilled_long-both': 'ViT-Linearizer, 1,000 iterations without labels',
        'distilled_long-plain_l2': 'plain L2 on final features, 1,000',
        'supervised_longest': 'no distillation, labels for 1,150',
        'distilled-both': 'ViT-Linearizer, 300',
        'distilled-plain_l2': 'plain L2 on final features, 300',
        'supervised_long': 'no distillation, labels for 450',
        'supervised': 'no distillation, labels for 150',
        'teacher': 'the teacher itself',
    })
