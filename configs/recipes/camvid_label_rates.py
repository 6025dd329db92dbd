# Learning rates of everything that is trained with labels on CamVid: mIoU on the validation frames
# after 150 iterations, of each kind of network from scratch and of the Adventurer from a distilled
# start; after 450, of the teacher and of the Adventurer from scratch. No test images are read.
#   python tools/run_recipe.py configs/recipes/camvid_label_rates.py --jobs 2 \
#       --work-dir work_dirs/camvid_pico
val = {
    'val_dataloader.dataset.data_prefix.img_path': 'images/val',
    'val_dataloader.dataset.data_prefix.seg_map_path': 'labels/val'
}
relu = {'model.backbone.linear_cfg': dict(feature_map='relu', conv_kernel=3)}
students = {  # kind → (name of its configs, options)
    'linear-vit-elu': ('linear-vit', {}),
    'linear-vit-relu': ('linear-vit', relu),
    'convnext': ('convnext', {}),
    'mixer': ('mixer', {})
}
tuned = 'configs/seg/fcn_adventurer-pico_camvid_distilled.py'
stages = [
    dict(name='teacher', config='configs/seg/fcn_vit-pico_camvid.py', iterations=2000),
    dict(
        name='distill-both',
        config='configs/distill/linearizer_adventurer-pico_camvid.py',
        inputs={'model.teacher.checkpoint': 'teacher'},
        iterations=300,
        output='student.pth'),
]
for rate in (1e-3, 3e-3, 1e-2):
    options = {**val, 'optim_wrapper.optimizer.lr': rate}
    stages += [
        dict(
            name=f'scratch_{rate:g}',
            config='configs/seg/fcn_adventurer-pico_camvid.py',
            iterations=150,
            options=options),
        dict(
            name=f'distilled_{rate:g}',
            config=tuned,
            inputs={'model.backbone.init_cfg.checkpoint': 'distill-both'},
            iterations=150,
            options=options),
        dict(
            name=f'vit_{rate:g}',
            config='configs/seg/fcn_vit-pico_camvid.py',
            iterations=450,
            options=options),
    ]
for rate in (3e-3, 1e-2):
    options = {**val, 'optim_wrapper.optimizer.lr': rate}
    stages.append(
        dict(
            name=f'long_{rate:g}',
            config='configs/seg/fcn_adventurer-pico_camvid.py',
            iterations=450,
            options=options))
    for kind, (name, changes) in students.items():
        stages.append(
            dict(
                name=f'{kind}_{rate:g}',
                config=f'configs/seg/fcn_{name}-pico_camvid_distilled.py',
                iterations=150,
                options={**options, **changes, 'model.backbone.init_cfg': None}))
