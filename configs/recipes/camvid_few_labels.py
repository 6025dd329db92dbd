# For whom distillation pays: CamVid with the labels of one frame in ten (37 of 367), all images
# without labels, and a teacher that has seen all labels, as a published ViT has seen more than its
# user has labelled. Controls as in camvid_linearizer.py, whose first stages these are.
#   python tools/run_recipe.py configs/recipes/camvid_few_labels.py --seeds 0 1 2 --amp --jobs 2 \
#       --work-dir work_dirs/camvid
few = {'train_dataloader.dataset.indices': list(range(0, 367, 10))}
start = 'model.backbone.init_cfg.checkpoint'
teacher = {'model.teacher.checkpoint': 'teacher'}
tuned = 'configs/seg/camvid_adventurer-nano_distilled.py'
stages = [
    dict(name='teacher', config='configs/seg/camvid_vit-nano.py'),
    dict(
        name='distill',
        config='configs/distill/linearizer_adventurer-nano_camvid.py',
        inputs=teacher,
        output='student.pth'),
    dict(
        name='distill_l2',
        config='configs/distill/l2_adventurer-nano_camvid.py',
        inputs=teacher,
        output='student.pth'),
    dict(name='few_distilled', config=tuned, inputs={start: 'distill'}, options=few),
    dict(name='few_distilled_l2', config=tuned, inputs={start: 'distill_l2'}, options=few),
    dict(name='few_scratch', config='configs/seg/camvid_adventurer-nano.py', options=few),
    dict(name='few_scratch_long', config='configs/seg/camvid_adventurer-nano_long.py', options=few),
]
report = dict(
    title='Few labels: CamVid with one labelled frame in ten',
    teacher='teacher',
    student='few_distilled',
    unlabelled=['distill'],
    rows=dict(
        teacher='softmax ViT, trained with all labels (the teacher)',
        few_distilled='Adventurer, distilled on all images, fine-tuned with few labels',
        few_distilled_l2='Adventurer, plain L2 on final features, fine-tuned with few labels',
        few_scratch='Adventurer, the same fine-tuning from scratch',
        few_scratch_long='Adventurer from scratch, few labels for the whole budget'))
