# ViT-AdaLA on CamVid with its ablation. Every row but the first starts from the weights of one
# teacher (2,000 iterations with labels), has 600 iterations without labels (no alignment: none) and
# 400 with labels and a new head. The controls are the teacher's own softmax network under the same
# fine-tuning, which is what a row is to be held against, and labels for all 1,000 iterations.
attention = 'configs/distill/adala-attention_vit-nano_camvid.py'
feature = 'configs/distill/adala-feature_vit-nano_camvid.py'
lolcats = 'configs/distill/lolcats_vit-nano_camvid.py'
linear = 'configs/seg/fcn_linear-vit-nano_camvid.py'
tuned = dict(config=linear, iterations=400)
teacher = 'model.teacher.checkpoint'
start = 'model.backbone.init_cfg.checkpoint'
from_teacher = {'model.inherit': True, 'model.backbone.init_cfg': None}
hedgehog = {'model.backbone.linear_cfg.feature_map': 'hedgehog'}
stages = [
    dict(name='teacher', config='configs/seg/fcn_vit-nano_camvid.py', iterations=2000),
    dict(name='align_attention', config=attention, inputs={teacher: 'teacher'}, iterations=200,
         output='student.pth'),
    dict(name='align_both', config=feature, inputs={teacher: 'teacher', start: 'align_attention'},
         iterations=400, output='student.pth'),
    dict(name='align_feature_only', config=feature, inputs={teacher: 'teacher'}, iterations=600,
         options=from_teacher, output='student.pth'),
    dict(name='align_attention_only', config=attention, inputs={teacher: 'teacher'},
         iterations=600, output='student.pth'),
    dict(name='align_lolcats', config=lolcats, inputs={teacher: 'teacher'}, iterations=600,
         output='student.pth'),
    dict(name='both_stages', **tuned, inputs={start: 'align_both'}),
    dict(name='stage2_only', **tuned, inputs={start: 'align_feature_only'}),
    dict(name='stage1_only', **tuned, inputs={start: 'align_attention_only'}),
    dict(name='hedgehog_lolcats', **tuned, inputs={start: 'align_lolcats'},
         options=hedgehog),
    dict(name='no_alignment', **tuned, inputs={start: 'teacher'}),
    dict(name='no_alignment_long', config=linear, inputs={start: 'teacher'}, iterations=1000),
    dict(name='softmax_finetuned', **tuned, inputs={start: 'teacher'},
         options={'model.backbone.attention': 'softmax'}),
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
        stage2_only='only feature alignment, as many iterations',
        stage1_only='only attention alignment, as many iterations',
        hedgehog_lolcats='Hedgehog maps by the attention transfer of LoLCATs, as many iterations',
        no_alignment='linear attention dropped in, no alignment',
        no_alignment_long='no alignment, labels only, same total iterations'))
