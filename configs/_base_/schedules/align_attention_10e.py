# 10 epochs for the projections of attention alignment, batch 128 (8 devices x 16). Rate and decay
# are published ones, of another batch: where attention_error in the log stays high or rises, take
# optim_wrapper.optimizer.lr=1e-3 and weight_decay=0, or AttentionAlignmentLoss(relative=True).
_base_ = ['./distill_100e.py']
max_epochs = 10
optim_wrapper = dict(
    optimizer=dict(lr=1e-2, betas=(0.9, 0.999), weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=1, end=max_epochs,
         convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=128)
