# Which student? The same teacher distilled by ViT-Linearizer into five networks of about the same
# size, 1,000 iterations without labels and 400 with, as in camvid_linearizer.py.
#   python tools/run_recipe.py configs/recipes/camvid_students.py --seeds 0 1 2 --amp --jobs 2
teacher = {'model.teacher.checkpoint': 'teacher'}
stages = [dict(name='teacher', config='configs/seg/camvid_vit-nano.py')]
for kind in ('adventurer', 'linear-vit-elu', 'linear-vit-relu', 'convnext', 'mixer'):
    name = kind.replace('-', '_')
    stages += [
        dict(
            name=f'distill_{name}',
            config=f'configs/distill/linearizer_{kind}-nano_camvid.py',
            inputs=teacher,
            output='student.pth'),
        dict(
            name=name,
            config=f'configs/seg/camvid_{kind}-nano_distilled.py',
            inputs={'model.backbone.init_cfg.checkpoint': f'distill_{name}'}),
    ]
report = dict(
    title='Which student? CamVid (120×160 crops, patch or stride 8, about 2 M parameters)',
    teacher='teacher',
    student='adventurer',
    unlabelled=['distill_adventurer'],
    rows=dict(
        teacher='softmax ViT, trained with labels (the teacher)',
        adventurer='Adventurer',
        linear_vit_elu='linear ViT, ELU',
        linear_vit_relu='linear ViT, ReLU and depthwise convolution',
        convnext='ConvNeXt',
        mixer='MLP-Mixer (one image size only)'))
