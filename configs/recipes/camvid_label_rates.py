# Learning rates of everything that is trained with labels on CamVid: mIoU on the validation frames
# after 200 iterations, from scratch and from a distilled start, and of the teacher after 400. No
# test images are read.
#   python tools/run_recipe.py configs/recipes/camvid_label_rates.py --jobs 2 \
#       --work-dir work_dirs/camvid
val = {
    'val_dataloader.dataset.data_prefix.img_path': 'images/val',
    'val_dataloader.dataset.data_prefix.seg_map_path': 'labels/val'
}
iterations_400 = {
    'train_cfg.max_iters': 400, 'train_cfg.val_interval': 400,
    'default_hooks.checkpoint.interval': 400, 'param_scheduler.0.end': 40,
    'param_scheduler.1.begin': 40, 'param_scheduler.1.end': 400
}
tuned = 'configs/seg/camvid_adventurer-nano_short_distilled.py'
stages = [
    dict(name='teacher', config='configs/seg/camvid_vit-nano.py'),
    dict(
        name='distill-both',
        config='configs/distill/linearizer_adventurer-nano_camvid_short.py',
        inputs={'model.teacher.checkpoint': 'teacher'},
        output='student.pth'),
]
for rate in (1e-3, 3e-3, 1e-2):
    options = {**val, 'optim_wrapper.optimizer.lr': rate}
    stages += [
        dict(
            name=f'scratch_{rate:g}',
            config='configs/seg/camvid_adventurer-nano_short.py',
            options=options),
        dict(
            name=f'distilled_{rate:g}',
            config=tuned,
            inputs={'model.backbone.init_cfg.checkpoint': 'distill-both'},
            options=options),
        dict(
            name=f'vit_{rate:g}',
            config='configs/seg/camvid_vit-nano.py',
            options={**options, **iterations_400}),
    ]
