# CamVid at full size: teacher, distilled Adventurer and aligned linear ViT of camvid_linearizer.py
# and camvid_adala.py, each trained on with labels for 400 iterations across scales.
# tools/benchmarks/highres_camvid.py then evaluates them at full size and twice it.
teacher = 'model.teacher.checkpoint'
start = 'model.backbone.init_cfg.checkpoint'
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
        name='linear_vit',
        config='configs/seg/fcn_linear-vit-nano_camvid-360.py',
        inputs={'load_from': 'both_stages'}),
]
