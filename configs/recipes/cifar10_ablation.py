# the ablation of ViT-Linearizer on CIFAR-10: objectives, scope, stages, mask ratio, weight of the
# masks, plain L2 on final features, class probabilities (T = 2), no distillation. Every row has the
# same teacher, 400 iterations without labels and 200 with; the controls 200 and 600 with.
#   python tools/run_recipe.py configs/recipes/cifar10_ablation.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/cifar10 --metric accuracy/top1
_base_ = ['../_base_/linearizer_variants.py']
tuned = 'configs/cls/cifar10_adventurer-nano_short_distilled.py'
stages = [
    dict(name='teacher', config='configs/cls/cifar10_vit-nano.py', shared=True),
    dict(
        name='distill',
        config='configs/distill/linearizer_adventurer-nano_cifar10_short.py',
        inputs={'model.teacher.checkpoint': 'teacher'},
        output='student.pth'),
    dict(name='distilled', config=tuned, inputs={'model.backbone.init_cfg.checkpoint': 'distill'}),
    dict(
        name='distill_logits',
        config='configs/distill/logits_adventurer-nano_cifar10_short.py',
        inputs={'model.teacher.checkpoint': 'teacher'}),
    dict(
        name='logits',
        config=tuned,
        inputs={'model.backbone.init_cfg.checkpoint': 'distill_logits'}),
    dict(
        name='logits_head',
        config='configs/cls/cifar10_adventurer-nano_short.py',
        inputs={'load_from': 'distill_logits'}),
    dict(name='supervised', config='configs/cls/cifar10_adventurer-nano_short.py'),
    dict(name='supervised_long', config='configs/cls/cifar10_adventurer-nano_600.py'),
]
report = dict(
    title='Ablation of ViT-Linearizer on CIFAR-10 (32×32, patch 4, width 128, 8 blocks)')
