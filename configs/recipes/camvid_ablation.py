# the ablation of ViT-Linearizer on CamVid: objectives, scope, stages, mask ratio, weight of the
# masks, plain L2 on final features, class probabilities (T = 2), no distillation. Every row has the
# same teacher, 300 iterations without labels and 150 with; the controls 150 and 450 with.
#   python tools/run_recipe.py configs/recipes/camvid_ablation.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/camvid_pico
# Recipes of networks of one size may share a work directory: what one has done, the others have.
_base_ = ['../_base_/linearizer_variants.py']
tuned = 'configs/seg/fcn_adventurer-pico_camvid_distilled.py'
scratch = 'configs/seg/fcn_adventurer-pico_camvid.py'
teacher = {'model.teacher.checkpoint': 'teacher'}
start = 'model.backbone.init_cfg.checkpoint'
stages = [
    dict(name='teacher', config='configs/seg/fcn_vit-pico_camvid.py', iterations=2000),
    dict(
        name='distill',
        config='configs/distill/linearizer_adventurer-pico_camvid.py',
        inputs=teacher,
        iterations=300,
        output='student.pth'),
    dict(name='distilled', config=tuned, inputs={start: 'distill'}, iterations=150),
    dict(
        name='distill_logits',
        config='configs/distill/logits_adventurer-pico_camvid.py',
        inputs=teacher,
        iterations=300),
    dict(name='logits', config=tuned, inputs={start: 'distill_logits'}, iterations=150),
    dict(
        name='logits_head',
        config=scratch,
        inputs={'load_from': 'distill_logits'},
        options={'optim_wrapper.optimizer.lr': 3e-3},  # that of all that starts distilled
        iterations=150),
    dict(name='supervised', config=scratch, iterations=150),
    dict(name='supervised_long', config=scratch, iterations=450),
]
report = dict(
    title='Ablation of ViT-Linearizer on CamVid (96×128 crops, patch 8, width 64, 4 blocks)')
