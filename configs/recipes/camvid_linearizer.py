# ViT-Linearizer on CamVid: the same fine-tuning budget from a distilled and from a random
# start. Each objective by itself, and controls: plain L2 on the final features in place of both,
# and labels only for as many iterations as distillation and fine-tuning together.
#   python tools/run_recipe.py configs/recipes/camvid_linearizer.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/camvid
# Recipes of networks of one size may share a work directory: what one has done, the others have.
linearizer = 'configs/distill/linearizer_adventurer-nano_camvid.py'
tuned = 'configs/seg/fcn_adventurer-nano_camvid_distilled.py'
start = 'model.backbone.init_cfg.checkpoint'
stages = [
    dict(name='teacher', config='configs/seg/fcn_vit-nano_camvid.py', iterations=2000),
    dict(
        name='distill',
        config=linearizer,
        iterations=1000,
        inputs={'model.teacher.checkpoint': 'teacher'},
        output='student.pth'),
    dict(name='distilled', config=tuned, inputs={start: 'distill'}),
    dict(
        name='distill_activation',
        config=linearizer,
        iterations=1000,
        inputs={'model.teacher.checkpoint': 'teacher'},
        options={'model.objectives.mask': None},
        output='student.pth'),
    dict(name='distilled_activation', config=tuned, inputs={start: 'distill_activation'}),
    dict(
        name='distill_mask',
        config=linearizer,
        iterations=1000,
        inputs={'model.teacher.checkpoint': 'teacher'},
        options={'model.objectives.activation': None},
        output='student.pth'),
    dict(name='distilled_mask', config=tuned, inputs={start: 'distill_mask'}),
    dict(
        name='distill_l2',
        config='configs/distill/l2_adventurer-nano_camvid.py',
        iterations=1000,
        inputs={'model.teacher.checkpoint': 'teacher'},
        output='student.pth'),
    dict(name='distilled_l2', config=tuned, inputs={start: 'distill_l2'}),
    dict(name='scratch', config='configs/seg/fcn_adventurer-nano_camvid.py'),
    dict(
        name='scratch_long', config='configs/seg/fcn_adventurer-nano_camvid.py', iterations=1400),
]
report = dict(
    title='ViT-Linearizer on CamVid (120×160 crops, patch 8, width 128, 8 blocks)',
    teacher='teacher',
    student='distilled',
    unlabelled=['distill'],
    rows=dict(
        teacher='softmax ViT, trained with labels (the teacher)',
        distilled='Adventurer, distilled without labels, then fine-tuned',
        distilled_activation='only activation matching',
        distilled_mask='only masked prediction',
        distilled_l2='Adventurer, plain L2 on final features without labels, then fine-tuned',
        scratch='Adventurer, the same fine-tuning from scratch',
        scratch_long='Adventurer from scratch, labels only, same total iterations'))
