# the demo of ViT-AdaLA: both stages on drawn street scenes, beside linear attention dropped in
stages = [
    dict(name='teacher', config='configs/seg/fcn_vit-nano_streets.py', iterations=600),
    dict(
        name='align_attention',
        config='configs/distill/adala-attention_vit-nano_streets.py',
        iterations=100,
        inputs={'model.teacher.checkpoint': 'teacher'},
        output='student.pth'),
    dict(
        name='align_feature',
        config='configs/distill/adala-feature_vit-nano_streets.py',
        iterations=200,
        inputs={
            'model.teacher.checkpoint': 'teacher',
            'model.backbone.init_cfg.checkpoint': 'align_attention'
        },
        output='student.pth'),
    dict(
        name='aligned',
        config='configs/seg/fcn_linear-vit-nano_streets.py',
        iterations=200,
        inputs={'model.backbone.init_cfg.checkpoint': 'align_feature'}),
    dict(
        name='dropped_in',
        config='configs/seg/fcn_linear-vit-nano_streets.py',
        iterations=200,
        inputs={'model.backbone.init_cfg.checkpoint': 'teacher'}),
]
report = dict(
    title='ViT-AdaLA on drawn street scenes',
    teacher='teacher',
    student='aligned',
    unlabelled=['align_attention', 'align_feature'],
    rows=dict(
        teacher='softmax ViT, trained with labels (the teacher)',
        aligned='linear ViT, both alignment stages without labels, then fine-tuned',
        dropped_in='linear attention dropped into the teacher, the same fine-tuning'))
