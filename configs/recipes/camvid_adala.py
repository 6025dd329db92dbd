# ViT-AdaLA on CamVid with its ablation. Every row but the first starts from the weights of one
# teacher (2,000 iterations with labels), has 600 iterations without labels (no alignment: none) and
# 400 with labels and a new head. The controls are the teacher's own softmax network under the same
# fine-tuning, which is what a row is to be held against, and labels for all 1,000 iterations.
attention = 'configs/distill/adala-attention_vit-nano_camvid.py'
attention_long = 'configs/distill/adala-attention_vit-nano_camvid_long.py'
feature = 'configs/distill/adala-feature_vit-nano_camvid.py'
feature_long = 'configs/distill/adala-feature_vit-nano_camvid_long.py'
lolcats = 'configs/distill/lolcats_vit-nano_camvid.py'
linear = 'configs/seg/camvid_linear-vit-nano.py'
teacher = 'model.teacher.checkpoint'
start = 'model.backbone.init_cfg.checkpoint'
hedgehog = {'model.backbone.linear_cfg.feature_map': 'hedgehog'}
stages = [
    dict(name='teacher', config='configs/seg/camvid_vit-nano.py'),
    dict(name='align_attention', config=attention, inputs={teacher: 'teacher'},
         output='student.pth'),
    dict(name='align_both', config=feature, inputs={teacher: 'teacher', start: 'align_attention'},
         output='student.pth'),
    dict(name='align_feature_only', config=feature_long, inputs={teacher: 'teacher'},
         output='student.pth'),
    dict(name='align_attention_only', config=attention_long, inputs={teacher: 'teacher'},
         output='student.pth'),
    dict(name='align_lolcats', config=lolcats, inputs={teacher: 'teacher'}, output='student.pth'),
    dict(name='both_stages', config=linear, inputs={start: 'align_both'}),
    dict(name='stage2_only', config=linear, inputs={start: 'align_feature_only'}),
    dict(name='stage1_only', config=linear, inputs={start: 'align_attention_only'}),
    dict(name='hedgehog_lolcats', config=linear, inputs={start: 'align_lolcats'},
         options=hedgehog),
    dict(name='no_alignment', config=linear, inputs={start: 'teacher'}),
    dict(name='no_alignment_long', config='configs/seg/camvid_linear-vit-nano_long.py',
         inputs={start: 'teacher'}),
    dict(name='softmax_finetuned', config='configs/seg/camvid_vit-nano_finetuned.py',
         inputs={start: 'teacher'}),
]
report = dict(
    title='ViT-AdaLA on CamVid (120×160 crops, patch 8, width 128, 8 blocks)',
    teacher='teacher',
    student='both_stages',
    unlabelled=['align_attention', 'align_both'],
    note='Every row but the first starts from the weights of its teacher, which had seen labels '
    'for 2,000 iterations, with a new head; what a row is to be held against is the softmax '
    'network under the same fine-tuning.',
    rows=dict(
        teacher='softmax ViT, trained with labels (the teacher)',
        softmax_finetuned="the teacher's backbone, softmax, the same fine-tuning",
        both_stages='linear ViT, attention and feature alignment',
        stage2_only='feature alignment alone, as many iterations',
        stage1_only='attention alignment alone, as many iterations',
        hedgehog_lolcats='Hedgehog maps by the attention transfer of LoLCATs, as many iterations',
        no_alignment='linear attention dropped in, no alignment',
        no_alignment_long='no alignment, labels for the whole budget'))
