# the demo: a pretrained ViT, many drawn street scenes without labels, eight with. The ViT is
# fine-tuned on the eight, and teaches a small Adventurer on all scenes without their labels; beside
# the same Adventurer with those labels only, and the ViT itself with linear-time focal attention
few = {'train_dataloader.dataset.indices': list(range(0, 240, 30))}
start = 'model.backbone.init_cfg'
rate = 'optim_wrapper.optimizer.lr'
student = 'configs/seg/conv1x1_adventurer-nano_streets.py'
stages = [
    dict(name='teacher', config='configs/seg/conv1x1_vit-small_streets.py', iterations=60,
         options=few),
    dict(name='labels_only', config=student, iterations=500,
         options={**few, start: None, rate: 1e-3,
                  'optim_wrapper.paramwise_cfg.layer_decay_rate': 1.0}),
    dict(name='distill', iterations=400, output='student.pth',
         config='configs/distill/phi-s_vit-small_adventurer-nano_streets.py',
         inputs={'model.teacher.checkpoint': 'teacher'}),
    dict(name='focal', config='configs/seg/conv1x1_focal-vit-small_streets.py', iterations=60,
         options=few),
    dict(name='distilled', config=student, iterations=100, options={**few, rate: 1e-3},
         inputs={f'{start}.checkpoint': 'distill'}),
]
report = dict(
    title='A pretrained ViT taken to linear time on drawn street scenes, eight of them labelled',
    teacher='teacher',
    student='distilled',
    pretrained='vit-small-14_saliency',
    offline='streets_demo.py',
    shapes=((512, 512), (1024, 1024), (1024, 2048)),
    rounds=3,
    unlabelled=['distill'],
    note='The focal ViT has the weights of the ViT and is not distilled.',
    rows=dict(
        teacher='softmax ViT-S, pretrained, fine-tuned on the eight scenes: the teacher',
        focal='focal ViT-S, linear-time, the same weights, the same fine-tuning',
        distilled='small Adventurer, linear-time, distilled on scenes without labels, then '
        'fine-tuned on the eight',
        labels_only='the same Adventurer, labels of the eight only, same total iterations'))
