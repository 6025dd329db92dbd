# Which student? The same teacher distilled by ViT-Linearizer into five networks of about the same
# size, 300 iterations without labels and 150 with, and each of them from scratch with those 150
# labelled iterations, and with 450; teacher and Adventurer are those of camvid_ablation.py.
#   python tools/run_recipe.py configs/recipes/camvid_students.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/camvid_pico
teacher = {'model.teacher.checkpoint': 'teacher'}
names = {
    'adventurer': 'Adventurer',
    'linear-vit-elu': 'linear ViT, ELU',
    'linear-vit-relu': 'linear ViT, ReLU and depthwise convolution',
    'convnext': 'ConvNeXt',
    'mixer': 'MLP-Mixer (one image size only)'
}
stages = [dict(name='teacher', config='configs/seg/camvid_vit-pico.py')]
rows = dict(teacher='softmax ViT, trained with labels (the teacher)')
for kind in names:
    of_ablation = kind == 'adventurer'
    suffix = '-both' if of_ablation else '_' + kind.replace('-', '_')
    scratch, long = ('supervised', 'supervised_long') if of_ablation else (f'scratch{suffix}',
                                                                           f'long{suffix}')
    tuned = f'configs/seg/camvid_{kind}-pico_distilled.py'
    from_nothing = dict(config='configs/seg/camvid_adventurer-pico.py') if of_ablation else dict(
        config=tuned, options={'model.backbone.init_cfg': None, 'optim_wrapper.optimizer.lr': 1e-2})
    stages += [
        dict(
            name=f'distill{suffix}',
            config=f'configs/distill/linearizer_{kind}-pico_camvid.py',
            inputs=teacher,
            iterations=300,
            output='student.pth'),
        dict(
            name=f'distilled{suffix}',
            config=tuned,
            inputs={'model.backbone.init_cfg.checkpoint': f'distill{suffix}'},
            iterations=150),
        dict(name=scratch, iterations=150, **from_nothing),
        dict(name=long, iterations=450, **from_nothing),
    ]
    rows |= {
        f'distilled{suffix}': names[kind],
        scratch: f'{names[kind]}, from scratch',
        long: f'{names[kind]}, labels for the whole budget'
    }
report = dict(
    title='Which student? CamVid (96×128 crops, patch or stride 8, 0.2 to 0.3 M parameters)',
    teacher='teacher',
    student='distilled-both',
    unlabelled=['distill-both'],
    rows=rows)
