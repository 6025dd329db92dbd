# CamVid at full size: teacher, distilled Adventurer and aligned linear ViT of camvid_linearizer.py
# and camvid_adala.py, each trained on with labels for 400 iterations across scales.
# tools/benchmarks/highres_camvid.py then evaluates them at full size and twice it.
# Whole images are longer sequences than the Adventurer was trained on, and it does worse with them
# than in windows. What helps? Scans along columns too, from the distillation on, and crops of more
# than twice the area, half as many a step.
teacher = 'model.teacher.checkpoint'
start = 'model.backbone.init_cfg.checkpoint'
columns = {'model.backbone.scan_axes': 'alternate'}
crops = {
    'train_dataloader.dataset.pipeline.3.crop_size': (360, 480),
    'train_dataloader.dataset.pipeline.2.ratio_range': (0.75, 2.0),
    'train_dataloader.batch_size': 2,
    'model.data_preprocessor.size': (360, 480)
}
stages = [
    dict(name='teacher', config='configs/seg/fcn_vit-nano_camvid.py', iterations=2000),
    dict(
        name='distill',
        config='configs/distill/linearizer_adventurer-nano_camvid.py',
        iterations=1000,
        inputs={teacher: 'teacher'},
        output='student.pth'),
    dict(
        name='distilled',
        config='configs/seg/fcn_adventurer-nano_camvid_distilled.py',
        inputs={start: 'distill'}),
    dict(
        name='align_attention',
        config='configs/distill/adala-attention_vit-nano_camvid.py',
        iterations=200,
        inputs={teacher: 'teacher'},
        output='student.pth'),
    dict(
        name='align_both',
        config='configs/distill/adala-feature_vit-nano_camvid.py',
        inputs={
            teacher: 'teacher',
            start: 'align_attention'
        },
        iterations=400,
        output='student.pth'),
    dict(
        name='both_stages',
        config='configs/seg/fcn_linear-vit-nano_camvid.py',
        inputs={start: 'align_both'},
        iterations=400),
    dict(
        name='vit',
        config='configs/seg/fcn_vit-nano_camvid-360.py',
        inputs={'load_from': 'teacher'}),
    dict(
        name='adventurer',
        config='configs/seg/fcn_adventurer-nano_camvid-360.py',
        inputs={'load_from': 'distilled'}),
    dict(
        name='adventurer_crops',
        config='configs/seg/fcn_adventurer-nano_camvid-360.py',
        options=crops,
        inputs={'load_from': 'distilled'}),
    dict(
        name='distill_columns',
        config='configs/distill/linearizer_adventurer-nano_camvid.py',
        iterations=1000,
        options=columns,
        inputs={teacher: 'teacher'},
        output='student.pth'),
    dict(
        name='distilled_columns',
        config='configs/seg/fcn_adventurer-nano_camvid_distilled.py',
        options=columns,
        inputs={start: 'distill_columns'}),
    dict(
        name='adventurer_columns',
        config='configs/seg/fcn_adventurer-nano_camvid-360.py',
        options=columns,
        inputs={'load_from': 'distilled_columns'}),
    dict(
        name='adventurer_columns_crops',
        config='configs/seg/fcn_adventurer-nano_camvid-360.py',
        options={**columns, **crops},
        inputs={'load_from': 'distilled_columns'}),
    dict(
        name='linear_vit',
        config='configs/seg/fcn_linear-vit-nano_camvid-360.py',
        inputs={'load_from': 'both_stages'}),
]
