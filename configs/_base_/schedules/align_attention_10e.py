# 10 epochs for the projections of attention alignment, batch 128 (8 devices x 16).
# AdamW at 4e-4 without weight decay, for the weights are inherited: the ViT-S of 384 channels is
# aligned at 1e-3 (../../distill/adala-attention_vit-small_camvid.py), and the rate falls with the
# width, 384 / 1024 of it; ViT-B of 768, which the same rule would give 5e-4, keeps it. IronViT's
# 1e-2 with decay 0.05 is meant for Muon (../switches/muon.py); under AdamW it moves such weights by
# nearly their own norm, and the decay alone would shrink them.
_base_ = ['./distill_100e.py']
max_epochs = 10
optim_wrapper = dict(
    optimizer=dict(lr=4e-4, betas=(0.9, 0.999), weight_decay=0.), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=1, end=max_epochs,
         convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=128)
