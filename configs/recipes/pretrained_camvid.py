# What a pretrained ViT is worth on CamVid: the ViT-S/14 (saliency) that `mmvitlin
# fetch_teacher` gets, students that inherit its weights (linear attention, focal attention,
# Mamba-2 mixers) and Adventurer-T from random weights. 168×224, batch 8; images
# without labels: CamVid's training frames and 1,000 of ImageNet; labels of all 367 frames, of one
# in ten (37) and of one in ninety-two (4; each seed has frames of its own).
#   python tools/run_recipe.py configs/recipes/pretrained_camvid.py --seeds 0 1 2 --amp --jobs 2 \
#       --out docs/results/pretrained_camvid.json
# Many hours on two cores. --add docs/results/pretrained_camvid.json continues from the published
# results; --stages 'linear_*' picks rows.
rate = 'optim_wrapper.optimizer.lr'
start = 'model.backbone.init_cfg'
checkpoint = 'model.backbone.init_cfg.checkpoint'
decay = 'optim_wrapper.paramwise_cfg.layer_decay_rate'
frozen = {'model.backbone.frozen_stages': 12, rate: 3e-3}
random = {start: None, decay: 1.0, rate: 1e-3}
seg = 'configs/seg/conv1x1_{}_camvid.py'
count, frames = 367, 'train_dataloader.dataset.indices'
amounts = {  # prefix of stages → frames with labels, by seed
    '37': {frames: [list(range(n, count, 10)) for n in range(10)]},
    '4': {frames: [list(range(n, count, 92)) for n in range(10)]}}
large = {  # the final rows again, at 252×336
    'train_dataloader.dataset.pipeline.2.scale': (336, 252),
    'train_dataloader.dataset.pipeline.3.crop_size': (252, 336),
    'val_dataloader.dataset.pipeline.1.scale': (336, 252),
    'test_dataloader.dataset.pipeline.1.scale': (336, 252)}
students = dict(  # prefix of stages → (what configs' names have, options)
    linear=('', {'model.backbone.linear_cfg.feature_map': 'hedgehog'}),
    focal=('focal-', {}),
    mamba2=('mamba2-', {'model.backbone.mamba2_cfg.feature_map': 'hedgehog'}),
    elu=('', {'model.backbone.linear_cfg.feature_map': 'elu'}),
    conv=('', {'model.backbone.linear_cfg': dict(feature_map='hedgehog', conv_kernel=5,
                                                 output_gate=True)}))
softmax = seg.format('vit-small')
stages = [
    dict(name='softmax_frozen', config=softmax, iterations=100, options=frozen),
    dict(name='softmax_tuned', config=softmax, iterations=200),
    *(dict(name=f'{few}_softmax_tuned', config=softmax, iterations=200, by_seed=labels)
      for few, labels in amounts.items()),
    dict(name='softmax_tuned_long', config=softmax, iterations=800, seeds=1),
    dict(name='softmax_tuned_252', config=softmax, iterations=200, options=large),
]
for student, (name, options) in students.items():
    config = seg.format((name or 'linear-') + 'vit-small')
    only = dict(seeds=1) if student == 'elu' else {}
    stages += [
        dict(name=f'{student}_attention', iterations=300, output='student.pth', options=options,
             config=f'configs/distill/adala-attention_{name}vit-small_camvid.py', **only),
        dict(name=f'{student}_both', iterations=300, output='student.pth', options=options,
             config=f'configs/distill/adala-feature_{name}vit-small_camvid.py',
             inputs={checkpoint: f'{student}_attention'}, **only),
    ]
    if student not in ('elu', 'conv'):
        stages += [
            dict(name=f'{student}_feature', iterations=300, output='student.pth', seeds=1,
                 config=f'configs/distill/adala-feature_{name}vit-small_camvid.py',
                 options={**options, checkpoint: 'mmvitlin::vit-small-14_saliency'})]
    tuned = dict(config=config, iterations=200)
    stages += [
        dict(name=f'{student}_both_tuned', inputs={checkpoint: f'{student}_both'},
             options=options, **tuned, **only),
        dict(name=f'{student}_inherited_tuned', options=options, **tuned, **only)]
    if student != 'elu':
        stages += [
            dict(name=f'{student}_both_tuned_252', inputs={checkpoint: f'{student}_both'},
                 options={**options, **large}, **tuned),
            dict(name=f'{student}_inherited_tuned_252', options={**options, **large}, **tuned)]
    if student in ('conv', 'mamba2'):  # what more of the alignment gives
        align = f'configs/distill/adala-{{}}_{name}vit-small_camvid.py'
        stages += [
            dict(name=f'{student}_attention_long', iterations=1000, output='student.pth',
                 options=options, config=align.format('attention')),
            dict(name=f'{student}_both_long', iterations=2000, output='student.pth',
                 options=options, config=align.format('feature'),
                 inputs={checkpoint: f'{student}_attention_long'}),
            dict(name=f'{student}_both_long_tuned', inputs={checkpoint: f'{student}_both_long'},
                 options=options, **tuned),
            *(dict(name=f'{student}_{of}_tuned_800', inputs={checkpoint: f'{student}_{of}'},
                   options=options, config=config, iterations=800)
              for of in ('both', 'both_long')),  # beside softmax_tuned_long
            dict(name=f'{student}_inherited_3200', options=options, config=config,
                 iterations=3200, seeds=1),
            *(dict(name=f'{few}_{student}_both_long_tuned', options=options, by_seed=labels,
                   inputs={checkpoint: f'{student}_both_long'}, **tuned)
              for few, labels in amounts.items())]
    if student == 'conv':
        stages.append(dict(name='conv_inherited_long', options=options, config=config,
                           iterations=800))
        for few, labels in amounts.items():
            stages += [
                dict(name=f'{few}_conv_both_tuned', by_seed=labels, options=options,
                     inputs={checkpoint: 'conv_both'}, **tuned),
                dict(name=f'{few}_conv_inherited_tuned', options=options, by_seed=labels, **tuned)]
    if student in ('elu', 'conv'):
        continue
    for few, labels in amounts.items():
        stages += [
            dict(name=f'{few}_{student}_both_tuned', inputs={checkpoint: f'{student}_both'},
                 options=options, by_seed=labels, **tuned),
            dict(name=f'{few}_{student}_inherited_tuned', options=options, by_seed=labels, **tuned),
            dict(name=f'{few}_{student}_random', options={**options, **random}, by_seed=labels,
                 **tuned)]
    stages += [
        dict(name=f'{student}_random', options={**options, **random}, **tuned),
        # labels only, for the iterations of both stages and the fine-tuning together
        dict(name=f'{student}_inherited_long', options=options, config=config, iterations=800),
        dict(name=f'{student}_random_long', options={**options, **random}, config=config,
             iterations=800),
        *(dict(name=f'{few}_{student}_inherited_long', options=options, config=config,
               iterations=800, by_seed=labels, seeds=1) for few, labels in amounts.items()),
        *(dict(name=f'{few}_{student}_random_long', options={**options, **random}, config=config,
               iterations=800, by_seed=labels, seeds=1) for few, labels in amounts.items()),
        dict(name=f'{student}_random_2000', options={**options, **random}, config=config,
             iterations=2000, seeds=1),
        dict(name=f'{student}_attention_tuned', inputs={checkpoint: f'{student}_attention'},
             options=options, seeds=1, **tuned),
        dict(name=f'{student}_feature_tuned', inputs={checkpoint: f'{student}_feature'},
             options=options, seeds=1, **tuned),
        dict(name=f'{student}_inherited_frozen', config=config, iterations=100, seeds=1,
             options={**options, **frozen}),
        *(dict(name=f'{student}_{of}_frozen', config=config, iterations=100, seeds=1,
               options={**options, **frozen}, inputs={checkpoint: f'{student}_{of}'})
          for of in ('attention', 'feature', 'both'))]
features = {'model.objectives.activation': None, 'model.objectives.mask': None,
            'model.mask_ratio': 0.0,
            'model.objectives.feature.type': 'mmvitlin.FeatureAlignmentLoss'}
plain_l2 = {**features, 'model.objectives.feature.normalize_target': True}
phi_s = {'model.objectives.feature.normalize_target': dict(type='phi_s', num_batches=16)}
depths = {'model.objectives.feature.layers': [0.25, 0.5, 0.75, 1.0],
          'model.objectives.feature.projector': 'linear'}
objectives = {  # of Adventurer-T
    'l2': plain_l2,
    'linearizer': {},
    'activation': {'model.objectives.mask': None},
    'mask': {'model.objectives.activation': None},
    'balanced': {'model.balance': dict(shares=dict(activation=1.0, mask=1.0))},
    'l2_depths': {**plain_l2, **depths},
    'phi_s': {**features, **phi_s},
    'phi_s_depths': {**features, **phi_s, **depths},
    'mix_depths': {**features, **phi_s, **depths,
                   'model.objectives.feature.distance': dict(cosine=0.9, smooth_l1=0.1)},
    'depths_gram': {**features, **phi_s, **depths,
                    'model.objectives.gram.type': 'mmvitlin.GramAnchoringLoss',
                    'model.balance': dict(shares=dict(gram=0.5))},
}
linearizer = 'configs/distill/linearizer_vit-small_adventurer-tiny_camvid.py'
adventurer = seg.format('adventurer-tiny')
compared = ('l2', 'linearizer', 'phi_s_depths')  # over lengths and numbers of labels
lengths = {500: tuple(objectives), 2000: compared, 8000: compared}
for length, names in lengths.items():
    for name in names:
        few_seeds = dict(seeds=1) if length == 8000 else {}
        stages += [
            dict(name=f'adventurer_{name}_{length}', config=linearizer, iterations=length,
                 options=objectives[name], output='student.pth', **few_seeds),
            dict(name=f'adventurer_{name}_{length}_tuned', config=adventurer, iterations=200,
                 inputs={checkpoint: f'adventurer_{name}_{length}'}, **few_seeds),
            *(dict(name=f'{few}_adventurer_{name}_{length}_tuned', config=adventurer,
                   iterations=200, inputs={checkpoint: f'adventurer_{name}_{length}'},
                   by_seed=labels, **few_seeds)
              for few, labels in amounts.items() if name in compared)]
    only = dict(seeds=1) if length > 500 else {}
    stages += [
        dict(name=f'adventurer_random_{length + 200}', config=adventurer, options={start: None},
             iterations=length + 200, **only),
        *(dict(name=f'{few}_adventurer_random_{length + 200}', config=adventurer,
               options={start: None}, iterations=length + 200, by_seed=labels, **only)
          for few, labels in amounts.items())]
ways = dict(  # row, which is its stage with all labels, → what it is
    softmax_tuned='softmax ViT-S',
    focal_inherited_tuned='focal ViT-S, not aligned',
    mamba2_both_tuned='Mamba-2 ViT-S, aligned',
    mamba2_both_long_tuned='Mamba-2 ViT-S, aligned for 3,000 iterations',
    mamba2_inherited_tuned='Mamba-2 ViT-S, not aligned',
    mamba2_inherited_long='Mamba-2 ViT-S, not aligned, labels for 800 iterations',
    conv_both_tuned='linear ViT-S with convolution and gate, aligned',
    conv_both_long_tuned='linear ViT-S with convolution and gate, aligned for 3,000 iterations',
    conv_inherited_tuned='linear ViT-S with convolution and gate, not aligned',
    linear_both_tuned='linear ViT-S, aligned',
    linear_inherited_tuned='linear ViT-S, not aligned',
    linear_inherited_long='linear ViT-S, not aligned, labels for 800 iterations',
    focal_random='focal ViT-S from random weights',
    focal_random_long='focal ViT-S from random weights, labels for 800 iterations')
control = 'softmax_tuned'
report = dict(
    title='A pretrained ViT made linear on CamVid, by the number of labelled frames',
    teacher='softmax_tuned',
    student='focal_inherited_tuned',
    unlabelled=[],
    note='ViT-S/14 (saliency) at 168×224; all rows but those from random weights start from its '
    'weights, and have 200 iterations of 8 images with labels where nothing else is said. Linear '
    'and Mamba-2 ViTs have Hedgehog feature maps; alignment is both stages of ViT-AdaLA, 600 '
    'iterations on images without labels where nothing else is said. The convolution is on the '
    'values. Rows without a deviation have one seed.',
    rows={
        **ways, **{f'{few}_{way}': f'{text}, {len(by_seed[0])} labelled frames'
                   for few, labels in amounts.items() for by_seed in labels.values()
                   for way, text in ways.items()}
    })
more_tables = [
    dict(
        title='What an Adventurer-T from random weights is distilled with',
        control='adventurer_l2_500_tuned',
        ways=dict(
            adventurer_random_700='labels only, 700 iterations',
            **{f'adventurer_{name}_500_tuned': text for name, text in dict(
                l2='plain L2 on the final features',
                linearizer='ViT-Linearizer as published',
                activation='its activation matching alone',
                mask='its masked prediction alone',
                balanced='ViT-Linearizer with balanced weights',
                l2_depths='plain L2 at four depths',
                phi_s='targets standardised by PHI-S',
                phi_s_depths='targets standardised by PHI-S, at four depths',
                mix_depths='PHI-S at four depths, 0.9 cosine + 0.1 smooth L1',
                depths_gram='PHI-S at four depths and a Gram loss').items()}),
        note='500 iterations of 8 images without labels, then 200 with.'),
    dict(
        title='The same for longer',
        control='adventurer_random_2200',
        ways=dict(
            adventurer_random_2200='labels only, 2,200 iterations',
            adventurer_l2_2000_tuned='plain L2, 2,000 iterations, then 200',
            adventurer_linearizer_2000_tuned='ViT-Linearizer, 2,000 iterations, then 200',
            adventurer_phi_s_depths_2000_tuned='PHI-S at four depths, 2,000 iterations, then 200',
            adventurer_random_8200='labels only, 8,200 iterations',
            adventurer_l2_8000_tuned='plain L2, 8,000 iterations, then 200',
            adventurer_linearizer_8000_tuned='ViT-Linearizer, 8,000 iterations, then 200',
            adventurer_phi_s_depths_8000_tuned='PHI-S at four depths, 8,000 iterations, then 200'),
        note='Iterations of 8 images without labels, then 200 with.'),
    dict(
        title='Fine-tuned at 252×336',
        control='softmax_tuned_252',
        ways={f'{name}_252': text for name, text in ways.items()},
        note='Alignment was at 168×224, as above.'),
    dict(
        title='Frozen, under a linear classifier',
        control='softmax_frozen',
        ways=dict(
            softmax_frozen='softmax ViT-S',
            **{f'{student}_{of}_frozen': f'{text}, {how}' for student, text in dict(
                focal='focal ViT-S', linear='linear ViT-S', mamba2='Mamba-2 ViT-S').items()
               for of, how in dict(inherited='not aligned', attention='after stage 1',
                                   feature='after stage 2 alone',
                                   both='after both').items()}),
        note='100 iterations with labels.')]
