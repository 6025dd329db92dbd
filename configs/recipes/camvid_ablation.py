# the ablation of ViT-Linearizer on CamVid: objectives, scope, stages, mask ratio, weight of the
# masks, plain L2 on final features, class probabilities (T = 2), no distillation. Every row has the
# same teacher, 400 iterations without labels and 200 with; the controls 200 and 600 with.
#   python tools/run_recipe.py configs/recipes/camvid_ablation.py --seeds 0 1 2 --jobs 2 \
#       --work-dir work_dirs/camvid
_base_ = ['../_base_/linearizer_variants.py']
tuned = 'configs/seg/camvid_adventurer-nano_short_distilled.py'
stages = [
    dict(name='teacher', config='configs/seg/camvid_vit-nano.py'),
    dict(
        name='distill',
        config='configs/distill/linearizer_adventurer-nano_camvid_short.py',
        inputs={'model.teacher.checkpoint': 'teacher'},
        output='student.pth'),
    dict(name='distilled', config=tuned, inputs={'model.backbone.init_cfg.checkpoint': 'distill'}),
    dict(
        name='distill_logits',
        config='configs/distill/logits_adventurer-nano_camvid_short.py',
        inputs={'model.teacher.checkpoint': 'teacher'}),
    dict(
        name='logits',
        config=tuned,
        inputs={'model.backbone.init_cfg.checkpoint': 'distill_logits'}),
    dict(
        name='logits_head',
        config='configs/seg/camvid_adventurer-nano_short.py',
        inputs={'load_from': 'distill_logits'}),
    dict(name='supervised', config='configs/seg/camvid_adventurer-nano_short.py'),
    dict(name='supervised_long', config='configs/seg/camvid_adventurer-nano_600.py'),
]
report = dict(
    title='Ablation of ViT-Linearizer on CamVid (120×160 crops, patch 8, width 128, 8 blocks)')
