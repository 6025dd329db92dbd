# Which student? The same teacher distilled by ViT-Linearizer into five networks of about the same
# size, 300 iterations without labels and 150 with, and each of them from scratch with those 150
# labelled iterations, and with 450; teacher and Adventurer are those of camvid_ablation.py.
#   python tools/run_recipe.py configs/recipes/camvid_students.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/camvid_pico
teacher = {'model.teacher.checkpoint': 'teacher'}
relu = {'model.backbone.linear_cfg': dict(feature_map='relu', conv_kernel=3)}
students = {  # kind → (what it is, name of its configs, options)
    'adventurer': ('Adventurer', 'adventurer', {}),
    'linear-vit-elu': ('linear ViT, ELU', 'linear-vit', {}),
    'linear-vit-relu': ('linear ViT, ReLU and depthwise convolution', 'linear-vit', relu),
    'convnext': ('ConvNeXt', 'convnext', {}),
    'mixer': ('MLP-Mixer (one image size only)', 'mixer', {})
}
stages = [dict(name='teacher', config='configs/seg/fcn_vit-pico_camvid.py', iterations=2000)]
rows = dict(teacher='softmax ViT, trained with labels (the teacher)')
for kind, (what, name, options) in students.items():
    of_ablation = kind == 'adventurer'
    suffix = '-both' if of_ablation else '_' + kind.replace('-', '_')
    scratch, long = ('supervised', 'supervised_long') if of_ablation else (f'scratch{suffix}',
                                                                           f'long{suffix}')
    tuned = f'configs/seg/fcn_{name}-pico_camvid_distilled.py'
    alone = 'configs/seg/fcn_adventurer-pico_camvid.py'
    from_nothing = dict(config=alone) if of_ablation else dict(
        config=tuned,
        options={
            **options, 'model.backbone.init_cfg': None,
            'optim_wrapper.optimizer.lr': 1e-2
        })
    stages += [
        dict(
            name=f'distill{suffix}',
            config=f'configs/distill/linearizer_{name}-pico_camvid.py',
            inputs=teacher,
            iterations=300,
            options=options,
            output='student.pth'),
        dict(
            name=f'distilled{suffix}',
            config=tuned,
            inputs={'model.backbone.init_cfg.checkpoint': f'distill{suffix}'},
            options=options,
            iterations=150),
        dict(name=scratch, iterations=150, **from_nothing),
        dict(name=long, iterations=450, **from_nothing),
    ]
    rows |= {
        f'distilled{suffix}': what,
        scratch: f'{what}, from scratch',
        long: f'{what}, labels only, same total iterations'
    }
report = dict(
    title='Which student? CamVid (96×128 crops, patch or stride 8, 0.2 to 0.3 M parameters)',
    teacher='teacher',
    student='distilled-both',
    unlabelled=['distill-both'],
    rows=rows)
