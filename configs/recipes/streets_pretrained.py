# the demo: a pretrained ViT, many drawn street scenes without labels, eight with; ViT-AdaLA puts
# linear-time focal attention into it, and it is fine-tuned on the eight, beside the same network
# with labels only
few = {'train_dataloader.dataset.indices': list(range(0, 240, 30))}
start = 'model.backbone.init_cfg'
student = 'configs/seg/conv1x1_focal-vit-small_streets.py'
stages = [
    dict(name='align_attention', iterations=80,
         config='configs/distill/adala-attention_focal-vit-small_streets.py', output='student.pth'),
    dict(name='align_feature', config='configs/distill/adala-feature_focal-vit-small_streets.py',
         iterations=50, inputs={f'{start}.checkpoint': 'align_attention'}, output='student.pth'),
    dict(name='random', config=student, iterations=200,
         options={**few, start: None, 'optim_wrapper.optimizer.lr': 1e-3,
                  'optim_wrapper.paramwise_cfg.layer_decay_rate': 1.0}),
    dict(name='inherited', config=student, iterations=200, options=few),
    dict(name='teacher', config='configs/seg/conv1x1_vit-small_streets.py', iterations=70,
         options=few),
    dict(name='distilled', config=student, iterations=70, options=few,
         inputs={f'{start}.checkpoint': 'align_feature'}),
]
report = dict(
    title='A pretrained ViT made linear-time on drawn street scenes, eight of them labelled',
    teacher='teacher',
    student='distilled',
    pretrained='vit-small-14_saliency',
    offline='streets_demo.py',
    shapes=((512, 512), (1024, 1024), (1024, 2048)),
    rounds=3,
    unlabelled=['align_attention', 'align_feature'],
    rows=dict(
        teacher='softmax ViT-S, pretrained, fine-tuned on the eight scenes',
        distilled='focal ViT-S, both alignment stages without labels, then the same fine-tuning',
        inherited="focal ViT-S with the ViT's weights, not aligned, labels only, same total "
        'iterations',
        random='focal ViT-S from random weights, labels only, same total iterations'))
