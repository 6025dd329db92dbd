# Which head? The small softmax ViT from scratch, with labels and each head in turn, for 600
# iterations on CamVid and 300 on drawn streets; on CamVid the linear head and EoMT on the linear
# ViT and the Adventurer too.
#   python tools/make_streets.py work_dirs/demo/streets
#   python tools/run_recipe.py configs/recipes/camvid_heads.py --seeds 0 1 2 --jobs 2 \
#       --out docs/results/camvid_heads.json
# tools/benchmarks/heads_cpu.py then measures the time of inference; costs are counted in
# docs/heads.md. Rates are those of the ViT's configs (3e-3 on CamVid, 1e-3 on streets) and EoMT's
# own, 1e-3; nobody has searched them for each head. 'upernet' is 32 channels wide; 'upernet-heavy'
# has two thirds of the maps' width, as that of the base size.
# As in camvid_120x160.py:
class_weight = [0.53, 0.45, 2.19, 0.39, 1.00, 0.65, 1.96, 1.41, 0.89, 2.53, 2.97]
depths, names = (2, 5, 7), ('linear', 'segformer', 'upernet', 'upernet-heavy')
stages = []
for data, iterations, patch, classes, weight in (('camvid', 600, 8, 11, class_weight),
                                                 ('streets', 300, 16, 19, None)):
    common = dict(
        _delete_=True,
        num_classes=classes,
        align_corners=False,
        norm_cfg=dict(type='BN'),
        loss_decode=dict(
            type='mmvitlin.PixelCrossEntropyLoss', avg_non_ignore=True, class_weight=weight))
    for name in names:
        if name == 'linear':
            options = {
                'model.decode_head': dict(common, type='mmvitlin.LinearHead', in_channels=128)
            }
        else:
            heavy = name == 'upernet-heavy'
            head = dict(common, in_channels=[128 if heavy else 32] * 4, in_index=[0, 1, 2, 3])
            head |= dict(type='SegformerHead', channels=32) if name == 'segformer' else dict(
                type='UPerHead', pool_scales=(1, 2, 3, 6), channels=88 if heavy else 32)
            options = {
                'model.backbone.out_indices': depths,
                'model.neck': dict(
                    type='mmvitlin.SimpleFPN',
                    in_channels=128,
                    out_channels=None if heavy else 32,
                    in_stride=patch,
                    strides=(patch // 2, patch, 2 * patch, 4 * patch)),  # the last of the third
                'model.decode_head': head
            }
        stages.append(
            dict(
                name=f'{data}_{name}',
                config=f'configs/seg/fcn_vit-nano_{data}.py',
                iterations=iterations,
                options=options))
    stages.append(
        dict(
            name=f'{data}_eomt',
            config=f'configs/seg/eomt_vit-nano_{data}.py',
            iterations=iterations))
for kind in ('linear-vit', 'adventurer'):
    start = {'model.backbone.init_cfg': None} if kind == 'linear-vit' else {}
    stages += [
        dict(name=f'camvid_linear_{kind}', config=f'configs/seg/fcn_{kind}-nano_camvid.py',
             iterations=600,
             options={**start, 'model.decode_head': dict(
                 common, type='mmvitlin.LinearHead', in_channels=128, num_classes=11,
                 loss_decode=dict(type='mmvitlin.PixelCrossEntropyLoss', avg_non_ignore=True,
                                  class_weight=class_weight))}),
        dict(name=f'camvid_eomt_{kind}', config=f'configs/seg/eomt_{kind}-nano_camvid.py',
             iterations=600, options=start)]
