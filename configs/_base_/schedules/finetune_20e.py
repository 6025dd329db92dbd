# 20 epochs at a rate of 1e-5, decay 0.1, after finetune_100e.py: Adventurer's third stage of
# three. Every layer has the same rate, as published; clipping, and the batch of 1024 that the
# rate is meant for, are ours
_base_ = ['./finetune_100e.py']
max_epochs = 20
optim_wrapper = dict(
    optimizer=dict(lr=1e-5, weight_decay=0.1), paramwise_cfg=dict(layer_decay_rate=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=2e-3, begin=5, end=max_epochs,
         convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs)
