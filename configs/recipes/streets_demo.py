# the demo: ViT-Linearizer on drawn street scenes, in a few minutes on two CPU cores
stages = [
    dict(name='teacher', config='configs/seg/streets_vit-nano.py'),
    dict(
        name='distill',
        config='configs/distill/linearizer_adventurer-nano_streets.py',
        inputs={'model.teacher.checkpoint': 'teacher'},
        output='student.pth'),
    dict(
        name='distilled',
        config='configs/seg/streets_adventurer-nano_distilled.py',
        inputs={'model.backbone.init_cfg.checkpoint': 'distill'}),
    dict(name='scratch', config='configs/seg/streets_adventurer-nano.py'),
    dict(name='scratch_long', config='configs/seg/streets_adventurer-nano_long.py'),
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
        scratch_long='Adventurer from scratch, labels for the whole budget'))
