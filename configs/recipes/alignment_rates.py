# How should the first stage of ViT-AdaLA be trained? The pretrained ViT-S (width 384) at 168×224,
# 100 iterations of 8 images without labels: error of the linear attentions' outputs against those
# of the softmax attentions in their place, by optimiser, rate, decay, feature map and what trains.
#   python tools/run_recipe.py configs/recipes/alignment_rates.py --amp --jobs 2 \
#       --metric loss_attention --out docs/results/alignment_rates.json
align = 'configs/distill/adala-attention_vit-small_camvid.py'
rate, decay = 'optim_wrapper.optimizer.lr', 'optim_wrapper.optimizer.weight_decay'
linear = 'model.backbone.linear_cfg'
hedgehog = {f'{linear}.feature_map': 'hedgehog'}
ways = {
    **{f'adamw_{lr}': {rate: lr} for lr in (3e-4, 1e-3, 3e-3, 1e-2)},
    'adamw_0.001_decay': {decay: 0.05},
    **{f'muon_{lr}': {'switches': ['muon'], rate: lr} for lr in (3e-3, 1e-2)},
    'elu': {f'{linear}.feature_map': 'elu'},
    'conv': {f'{linear}.conv_kernel': 5},
    'gate': {f'{linear}.output_gate': True},
    'proj': {'model.trained': ['qkv', 'added', 'proj']},
}
stages = [dict(name=name, config=align, iterations=100, output='student.pth',
               options={**hedgehog, **options}) for name, options in ways.items()]
what = {  # of each stage, in the table of results
    **{f'adamw_{lr}': f'AdamW at {lr}, no decay' for lr in (3e-4, 1e-3, 3e-3, 1e-2)},
    'adamw_0.001_decay': 'AdamW at 0.001, decay 0.05',
    **{f'muon_{lr}': f'Muon at {lr}' for lr in (3e-3, 1e-2)},
    'elu': 'AdamW at 0.001, ELU + 1 instead of Hedgehog',
    'conv': 'AdamW at 0.001, and a 5×5 convolution on the values',
    'gate': 'AdamW at 0.001, and a gate on the output',
    'proj': 'AdamW at 0.001, output projections train too',
}
