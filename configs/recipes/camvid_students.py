# Which student? The same teacher distilled by ViT-Linearizer into five networks of about the same
# size, 1,000 iterations without labels and 400 with; teacher and Adventurer are those of
# camvid_linearizer.py.
#   python tools/run_recipe.py configs/recipes/camvid_students.py --seeds 0 1 2 --amp --jobs 2 \
#       --work-dir work_dirs/camvid
teacher = {'model.teacher.checkpoint': 'teacher'}
stages = [dict(name='teacher', config='configs/seg/camvid_vit-nano.py')]
for kind in ('adventurer', 'linear-vit-elu', 'linear-vit-relu', 'convnext', 'mixer'):
    suffix = '' if kind == 'adventurer' else '_' + kind.replace('-', '_')
    stages += [
        dict(
            name=f'distill{suffix}',
            config=f'configs/distill/linearizer_{kind}-nano_camvid.py',
            inputs=teacher,
            output='student.pth'),
        dict(
            name=f'distilled{suffix}',
            config=f'configs/seg/camvid_{kind}-nano_distilled.py',
            inputs={'model.backbone.init_cfg.checkpoint': f'distill{suffix}'}),
    ]
report = dict(
    title='Which student? CamVid (120×160 crops, patch or stride 8, about 2 M parameters)',
    teacher='teacher',
    student='distilled',
    unlabelled=['distill'],
    rows=dict(
        teacher='softmax ViT, trained with labels (the teacher)',
        distilled='Adventurer',
        distilled_linear_vit_elu='linear ViT, ELU',
        distilled_linear_vit_relu='linear ViT, ReLU and depthwise convolution',
        distilled_convnext='ConvNeXt',
        distilled_mixer='MLP-Mixer (one image size only)'))
