# 80k iterations of AdamW, linear warm-up and poly decay, for all heads but Mask2Former's and EoMT's
# (on ADE20K 160k of 16: the config says so); the layer decay is ours, and deep networks
# (24 blocks) may need 0.95: with 0.9 their stem has a fourteenth of the rate
# meant for 8 images a step; the rate follows another number in proportion
_base_ = ['../default_runtime.py']
max_iters = 80000
optim_wrapper = dict(
    type='mmvitlin.OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-5, betas=(0.9, 0.999), weight_decay=0.01),
    constructor='mmvitlin.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.9, norm_decay_mult=0., flat_decay_mult=0.,
        custom_keys=dict(
            pos_embed=dict(decay_mult=0.), cls_token=dict(decay_mult=0.),
            reg_token=dict(decay_mult=0.))))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0., by_epoch=False, begin=1500, end=max_iters),
]
auto_scale_lr = dict(enable=True, base_batch_size=8)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=8000)
default_hooks = dict(
    logger=dict(interval=50, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=8000, max_keep_ckpts=2, save_best='mIoU'),
    visualization=dict(type='SegVisualizationHook'))
