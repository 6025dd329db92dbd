# How should the first stage of ViT-AdaLA be trained? The pretrained ViT-S (width 384) at 168×224,
# 150 iterations of 8 images without labels: error of the linear attentions' outputs against those
# of the softmax attentions on the same inputs, by optimiser, rate, weight decay, feature map and
# what trains.
#   python tools/run_recipe.py configs/recipes/alignment_rates.py --amp --jobs 2 \
#       --metric attention_error --out docs/results/alignment_rates.json
align = 'configs/distill/adala-attention_vit-small_camvid.py'
rate, decay = 'optim_wrapper.optimizer.lr', 'optim_wrapper.optimizer.weight_decay'
linear = 'model.backbone.linear_cfg'
hedgehog = {f'{linear}.feature_map': 'hedgehog'}
ways = {
    **{f'adamw_{lr}': {rate: lr} for lr in (3e-4, 1e-3, 3e-3, 1e-2)},
    'adamw_0.01_decay': {rate: 1e-2, decay: 0.05},
    **{f'muon_{lr}': {'switches': ['muon'], rate: lr} for lr in (3e-3, 1e-2)},
    'elu': {f'{linear}.feature_map': 'elu'},
    'conv': {f'{linear}.conv_kernel': 5},
    'gate': {f'{linear}.output_gate': True},
    'proj': {'model.trained': ['qkv', 'added', 'proj']},
}
stages = [dict(name=name, config=align, iterations=150, output='student.pth',
               options={**hedgehog, **options}) for name, options in ways.items()]
