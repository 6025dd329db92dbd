# Mask2Former's 50 epochs, batch 16: a tenth of the rate for the backbone, gradients clipped;
# vectors, embeddings and tokens do not decay
_base_ = ['../default_runtime.py']
max_epochs = 50
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
param_scheduler = dict(
    type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[44, 48], gamma=0.1)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
auto_scale_lr = dict(base_batch_size=16, enable=True)
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=5, max_keep_ckpts=2),
    visualization=dict(type='DetVisualizationHook'))
