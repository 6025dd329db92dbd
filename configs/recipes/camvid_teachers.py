# Does a cheaper teacher change the student? CamVid, the same student and budgets as in
# camvid_ablation.py: features computed anew for every image, read back from disk for four views
# of each (they are the same features: what differs is that there are four views), computed in
# bfloat16 throughout, and by the compiled teacher. Without --amp, which would put every teacher in
# half precision where the machine has it.
#   python tools/run_recipe.py configs/recipes/camvid_teachers.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/camvid_pico
start = 'model.backbone.init_cfg.checkpoint'
tuned = dict(config='configs/seg/fcn_adventurer-pico_camvid_distilled.py', iterations=150)
taught = dict(
    config='configs/distill/linearizer_adventurer-pico_camvid.py',
    inputs={'model.teacher.checkpoint': 'teacher'},
    iterations=300,
    output='student.pth')
ways = dict(
    cached={
        'model.teacher.cache': 'work_dirs/camvid_pico/cache',
        'train_dataloader.sampler.views': 4
    },
    bf16={'model.teacher.precision': 'bf16'},
    compiled={'model.teacher.compiled': True})
stages = [
    dict(name='teacher', config='configs/seg/fcn_vit-pico_camvid.py', iterations=2000),
    dict(name='distill-both', **taught),
    dict(name='distilled-both', inputs={start: 'distill-both'}, **tuned),
]
for way, options in ways.items():
    stages += [
        dict(name=f'distill_{way}', options=options, **taught),
        dict(name=f'distilled_{way}', inputs={start: f'distill_{way}'}, **tuned),
    ]
report = dict(
    title='A cheaper teacher on CamVid (96×128 crops, patch 8, width 64, 4 blocks)',
    teacher='teacher',
    student='distilled-both',
    unlabelled=['distill-both'],
    rows=dict(
        **{'distilled-both': 'features computed for every image'},
        distilled_cached='four views of each image, features read back',
        distilled_bf16='teacher in bfloat16',
        distilled_compiled='teacher compiled'))
