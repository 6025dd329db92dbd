# 100 epochs of supervised fine-tuning, batch 1024, with an averaged copy of the weights:
# Adventurer's second stage of three (at 224, decay 0.05, warm-up of 5 epochs, cosine). Its first,
# 300 epochs of labels at 128, is distillation here. Ours: half the published rate of 5e-4 x batch
# / 512, and less in earlier blocks, for the weights are learnt already; gradients are clipped
_base_ = ['../default_runtime.py']
max_epochs = 100
optim_wrapper = dict(
    type='mmvitlin.OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    constructor='mmvitlin.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.8, norm_decay_mult=0., flat_decay_mult=0.,
        custom_keys=dict(
            pos_embed=dict(decay_mult=0.), cls_token=dict(decay_mult=0.),
            reg_token=dict(decay_mult=0.))))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=2e-3, begin=5, end=max_epochs,
         convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
auto_scale_lr = dict(base_batch_size=1024, enable=True)
custom_hooks = [dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL')]
default_hooks = dict(
    logger=dict(interval=100),
    checkpoint=dict(interval=1, max_keep_ckpts=2, save_best='auto'))
