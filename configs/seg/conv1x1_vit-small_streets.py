# Drawn streets: the pretrained ViT-S with softmax attention
_base_ = [
    '../_base_/models/conv1x1_vit-small.py', '../_base_/datasets/streets_140x280.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_small.py'
]
model = dict(data_preprocessor=dict(size=(140, 280)), decode_head=dict(num_classes=19))
optim_wrapper = dict(
    optimizer=dict(lr=3e-4),
    constructor='mmvitlin.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.85))
