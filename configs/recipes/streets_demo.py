# the demo: ViT-Linearizer on drawn street scenes, in a few minutes on two CPU cores
stages = [
    dict(name='teacher', config='configs/seg/fcn_vit-nano_streets.py', iterations=600),
    dict(
        name='distill',
        config='configs/distill/linearizer_adventurer-nano_streets.py',
        iterations=300,
        inputs={'model.teacher.checkpoint': 'teacher'},
        output='student.pth'),
    dict(
        name='distilled',
        config='configs/seg/fcn_adventurer-nano_streets_distilled.py',
        iterations=200,
        inputs={'model.backbone.init_cfg.checkpoint': 'distill'}),
    dict(name='scratch', config='configs/seg/fcn_adventurer-nano_streets.py', iterations=200),
    dict(name='scratch_long', config='configs/seg/fcn_adventurer-nano_streets.py', iterations=500),
]
report = dict(
    title='ViT-Linearizer on drawn street scenes',
    teacher='teacher',
    student='distilled',
    unlabelled=['distill'],
    rows=dict(
        teacher='softmax ViT, trained with labels (the teacher)',
        distilled='Adventurer, distilled without labels, then fine-tuned',
        scratch='Adventurer, the same fine-tuning from scratch',
        scratch_long='Adventurer from scratch, labels only, same total iterations'))
