# Which student? The same teacher distilled by ViT-Linearizer into five networks of about the same
# size, 400 iterations without labels and 200 with, and each of them from scratch with those 200;
# teacher and Adventurer are those of camvid_ablation.py.
#   python tools/run_recipe.py configs/recipes/camvid_students.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/camvid
teacher = {'model.teacher.checkpoint': 'teacher'}
names = {
    'adventurer': 'Adventurer',
    'linear-vit-elu': 'linear ViT, ELU',
    'linear-vit-relu': 'linear ViT, ReLU and depthwise convolution',
    'convnext': 'ConvNeXt',
    'mixer': 'MLP-Mixer (one image size only)'
}
stages = [dict(name='teacher', config='configs/seg/camvid_vit-nano.py')]
rows = dict(teacher='softmax ViT, trained with labels (the teacher)')
for kind in names:
    config = f'configs/seg/camvid_{kind}-nano_distilled.py'
    distill = f'configs/distill/linearizer_{kind}-nano_camvid.py'
    if kind == 'adventurer':
        config = 'configs/seg/camvid_adventurer-nano_short_distilled.py'
        distill = 'configs/distill/linearizer_adventurer-nano_camvid_short.py'
    suffix = '-both' if kind == 'adventurer' else '_' + kind.replace('-', '_')
    scratch = 'supervised' if kind == 'adventurer' else f'scratch{suffix}'
    stages += [
        dict(name=f'distill{suffix}', config=distill, inputs=teacher, output='student.pth'),
        dict(
            name=f'distilled{suffix}',
            config=config,
            inputs={'model.backbone.init_cfg.checkpoint': f'distill{suffix}'}),
        dict(name='supervised', config='configs/seg/camvid_adventurer-nano_short.py')
        if kind == 'adventurer' else dict(
            name=scratch, config=config, options={'model.backbone.init_cfg': None}),
    ]
    rows |= {f'distilled{suffix}': names[kind], scratch: f'{names[kind]}, from scratch'}
report = dict(
    title='Which student? CamVid (120×160 crops, patch or stride 8, about 2 M parameters)',
    teacher='teacher',
    student='distilled-both',
    unlabelled=['distill-both'],
    rows=rows)
