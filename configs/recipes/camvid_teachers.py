# Does a cheaper teacher change the student? CamVid, the same student and budgets as in
# camvid_ablation.py: features computed anew for every image, read back from disk for four views
# of each (they are the same features: what differs is that there are four views), computed in
# bfloat16 throughout, and by the compiled teacher. Without --amp, which would put every teacher in
# half precision where the machine has it.
#   python tools/run_recipe.py configs/recipes/camvid_teachers.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/camvid
distill = 'configs/distill/linearizer_adventurer-nano_camvid_short.py'
distilled = 'configs/seg/camvid_adventurer-nano_short_distilled.py'
teacher = {'model.teacher.checkpoint': 'teacher'}
start = 'model.backbone.init_cfg.checkpoint'
stages = [
    dict(name='teacher', config='configs/seg/camvid_vit-nano.py'),
    dict(name='distill-both', config=distill, inputs=teacher, output='student.pth'),
    dict(name='distilled-both', config=distilled, inputs={start: 'distill-both'}),
    dict(name='distill_cached', config=distill, inputs=teacher, output='student.pth',
         options={'model.teacher.cache': 'work_dirs/camvid/cache',
                  'train_dataloader.sampler.views': 4}),
    dict(name='distilled_cached', config=distilled, inputs={start: 'distill_cached'}),
    dict(name='distill_bf16', config=distill, inputs=teacher, output='student.pth',
         options={'model.teacher.precision': 'bf16'}),
    dict(name='distilled_bf16', config=distilled, inputs={start: 'distill_bf16'}),
    dict(name='distill_compiled', config=distill, inputs=teacher, output='student.pth',
         options={'model.teacher.compiled': True}),
    dict(name='distilled_compiled', config=distilled, inputs={start: 'distill_compiled'}),
]
report = dict(
    title='A cheaper teacher on CamVid (120×160 crops, patch 8, width 128, 8 blocks)',
    teacher='teacher',
    student='distilled-both',
    unlabelled=['distill-both'],
    rows=dict(
        **{'distilled-both': 'features computed for every image'},
        distilled_cached='four views of each image, features read back',
        distilled_bf16='teacher in bfloat16',
        distilled_compiled='teacher compiled'))
