# the demo of ViT-AdaLA: a pretrained ViT takes Mamba-2 mixers in the place of its attention, which
# drawn street scenes without labels align in both stages; beside the same network with labels of
# eight scenes for all of the iterations
few = {'train_dataloader.dataset.indices': list(range(0, 240, 30))}
checkpoint = 'model.backbone.init_cfg.checkpoint'
student = 'configs/seg/conv1x1_mamba2-vit-small_streets.py'
stages = [
    dict(name='teacher', config='configs/seg/conv1x1_vit-small_streets.py', iterations=60,
         options=few),
    dict(name='align_attention', iterations=70, output='student.pth',
         config='configs/distill/adala-attention_mamba2-vit-small_streets.py'),
    dict(name='dropped_in', config=student, iterations=240, options=few),
    dict(name='align_feature', iterations=120, output='student.pth',
         config='configs/distill/adala-feature_mamba2-vit-small_streets.py',
         inputs={checkpoint: 'align_attention'}),
    dict(name='aligned', config=student, iterations=50, options=few,
         inputs={checkpoint: 'align_feature'}),
]
report = dict(
    title='ViT-AdaLA with a pretrained ViT on drawn street scenes, eight of them labelled',
    teacher='teacher',
    student='aligned',
    pretrained='vit-small-14_saliency',
    offline='streets_adala.py',
    shapes=((512, 512), (1024, 1024), (1024, 2048)),
    rounds=3,
    unlabelled=['align_attention', 'align_feature'],
    note='All have the weights of the pretrained ViT; the students have Mamba-2 mixers, which are '
    'linear-time, instead of its attention.',
    rows=dict(
        teacher='softmax ViT-S, pretrained, fine-tuned on the eight scenes',
        aligned='Mamba-2 ViT-S, both alignment stages on scenes without labels, then fine-tuned on '
        'the eight',
        dropped_in='Mamba-2 ViT-S, not aligned, labels of the eight only, same total iterations'))
