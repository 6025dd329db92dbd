# Mask2Former's 90k iterations on Cityscapes, batch 16: a tenth of the rate for the backbone,
# gradients clipped; vectors, embeddings and tokens do not decay
_base_ = ['../default_runtime.py']
max_iters = 90000
plain = dict(decay_mult=0.)
optim_wrapper = dict(
    type='mmvitlin.OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='mmvitlin.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=1.0, backbone_lr_mult=0.1, norm_decay_mult=0., flat_decay_mult=0.,
        custom_keys=dict(
            pos_embed=plain, cls_token=plain, reg_token=plain, query_embed=plain,
            query_feat=plain, level_embed=plain, level_encoding=plain)),
    clip_grad=dict(max_norm=0.01, norm_type=2))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., by_epoch=False, begin=0, end=max_iters)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=9000)
auto_scale_lr = dict(enable=True, base_batch_size=16)
default_hooks = dict(
    logger=dict(interval=50, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=9000, max_keep_ckpts=2, save_best='mIoU'),
    visualization=dict(type='SegVisualizationHook'))
