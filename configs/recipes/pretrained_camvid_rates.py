# Learning rates for pretrained_camvid.py, one seed, chosen on CamVid's validation split (101
# frames), which nothing else uses: of fine-tuning softmax and linear ViT-S from the pretrained
# weights, of both from random ones and of Adventurer-T, 150 iterations with labels; of both stages
# of ViT-AdaLA and of plain L2 into Adventurer-T, read by a frozen backbone's linear head.
#   python tools/run_recipe.py configs/recipes/pretrained_camvid_rates.py --amp --jobs 2 \
#       --work-dir work_dirs/pretrained_camvid_rates
plain_l2 = {
    'model.objectives.activation': None,
    'model.objectives.mask': None,
    'model.mask_ratio': 0.0,
    'model.objectives.feature.type': 'mmvitlin.FeatureAlignmentLoss',
    'model.objectives.feature.normalize_target': True,
}
rate = 'optim_wrapper.optimizer.lr'
decay = 'optim_wrapper.paramwise_cfg.layer_decay_rate'
start = 'model.backbone.init_cfg'
on_val = {
    'val_dataloader.dataset.data_prefix.img_path': 'images/val',
    'val_dataloader.dataset.data_prefix.seg_map_path': 'labels/val',
}
softmax = 'configs/seg/conv1x1_vit-small_camvid.py'
linear = 'configs/seg/conv1x1_linear-vit-small_camvid.py'
adventurer = 'configs/seg/conv1x1_adventurer-tiny_camvid.py'
frozen = {'model.backbone.frozen_stages': 12, rate: 3e-3}
stages = [dict(name='softmax_frozen', config=softmax, iterations=150, options={**on_val, **frozen})]
stages += [
    dict(name=f'softmax_{lr}', config=softmax, iterations=150, options={**on_val, rate: lr})
    for lr in (3e-4, 1e-3, 3e-3)
]
stages += [
    dict(name=f'linear_{lr}', config=linear, iterations=150, options={**on_val, rate: lr})
    for lr in (3e-4, 1e-3, 3e-3)
]
stages += [
    dict(name=f'linear_random_{lr}', config=linear, iterations=150,
         options={**on_val, rate: lr, decay: 1.0, start: None}) for lr in (3e-4, 1e-3, 3e-3)
]
stages += [
    dict(name=f'adventurer_random_{lr}', config=adventurer, iterations=150,
         options={**on_val, rate: lr, start: None}) for lr in (1e-3, 3e-3, 1e-2)
]
hedgehog = {'model.backbone.linear_cfg.feature_map': 'hedgehog'}
mamba2 = {'model.backbone.mamba2_cfg.feature_map': 'hedgehog'}
students = dict(  # prefix of stages → ('' or 'mamba2-' in the configs' names, options, rates)
    elu=('', {}, (3e-4, 1e-3, 3e-3)),
    hedgehog=('', hedgehog, (1e-3, 3e-3)),
    mamba2=('mamba2-', mamba2, (1e-3, 3e-3)))
for student, (name, options, rates) in students.items():
    seg = f"configs/seg/conv1x1_{name or 'linear-'}vit-small_camvid.py"
    for lr in rates:
        stages += [
            dict(name=f'{student}_attention_{lr}', iterations=150, output='student.pth',
                 config=f'configs/distill/adala-attention_{name}vit-small_camvid.py',
                 options={rate: lr, **options}),
            dict(name=f'{student}_attention_{lr}_read', config=seg, iterations=100,
                 options={**on_val, **frozen, **options},
                 inputs={f'{start}.checkpoint': f'{student}_attention_{lr}'})
        ]
for lr in (3e-5, 1e-4, 3e-4):
    stages += [
        dict(name=f'feature_{lr}', config='configs/distill/adala-feature_vit-small_camvid.py',
             iterations=150, options={rate: lr, **hedgehog}, output='student.pth',
             inputs={f'{start}.checkpoint': 'hedgehog_attention_0.001'}),
        dict(name=f'feature_{lr}_read', config=linear, iterations=100,
             options={**on_val, **frozen, **hedgehog},
             inputs={f'{start}.checkpoint': f'feature_{lr}'})
    ]
for lr in (1e-3, 3e-3):
    stages += [
        dict(name=f'l2_{lr}',
             config='configs/distill/linearizer_vit-small_adventurer-tiny_camvid.py',
             iterations=300, options={rate: lr, **plain_l2}, output='student.pth'),
        dict(name=f'l2_{lr}_read', config=adventurer, iterations=100,
             options={**on_val, **frozen}, inputs={f'{start}.checkpoint': f'l2_{lr}'})
    ]
