# a switch: 12 epochs instead of a detector's 100, for a quick comparison of backbones; no
# published schedule, as images are still jittered as for the 100
max_epochs = 12
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=250),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[8, 11],
         gamma=0.1),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
