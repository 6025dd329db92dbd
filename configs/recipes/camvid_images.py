# On which images to distil? CamVid's own frames, or for as many iterations a flat folder of images
# that have nothing to do with streets (measured with 1,000 of ImageNet, one of each class, in
# data/images). Teacher, budgets and labels are those of camvid_ablation.py.
#   python tools/run_recipe.py configs/recipes/camvid_images.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/camvid_pico
_base_ = ['../_base_/plain_l2.py']
configs_by_suffix = {
    '': 'configs/distill/linearizer_adventurer-pico_camvid.py',
    '_any': 'configs/distill/linearizer_adventurer-pico_images.py'
}
scratch = 'configs/seg/fcn_adventurer-pico_camvid.py'
stages = [dict(name='teacher', config='configs/seg/fcn_vit-pico_camvid.py', iterations=2000)]
for suffix, config in configs_by_suffix.items():
    for way, options in dict(both={}, plain_l2={{_base_.plain_l2}}).items():
        stages += [
            dict(
                name=f'distill{suffix}-{way}',
                config=config,
                inputs={'model.teacher.checkpoint': 'teacher'},
                iterations=300,
                output='student.pth',
                options=options),
            dict(
                name=f'distilled{suffix}-{way}',
                config='configs/seg/fcn_adventurer-pico_camvid_distilled.py',
                inputs={'model.backbone.init_cfg.checkpoint': f'distill{suffix}-{way}'},
                iterations=150)
        ]
stages += [
    dict(name='supervised', config=scratch, iterations=150),
    dict(name='supervised_long', config=scratch, iterations=450),
]
report = dict(
    title='Images to distil on: CamVid (96×128 crops, patch 8, width 64, 4 blocks)',
    teacher='teacher',
    student='distilled-both',
    unlabelled=['distill-both'],
    rows={
        'distilled-both': 'ViT-Linearizer on frames of CamVid',
        'distilled_any-both': 'ViT-Linearizer on images of anything',
        'distilled-plain_l2': 'plain L2 on final features, on frames of CamVid',
        'distilled_any-plain_l2': 'plain L2 on final features, on images of anything',
        'supervised': 'no distillation',
        'supervised_long': 'labels only, same total iterations',
        'teacher': 'the teacher itself',
    })
