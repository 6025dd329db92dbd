# Adventurers on images larger than the crops they were trained on: CamVid, labels only, 600
# iterations across scales. Whole images are longer sequences than the scans have seen in crops of
# 240x320. What helps? Crops of more than twice the area, half as many a step; scans along columns
# as well as rows; both. tools/benchmarks/highres_camvid.py evaluates the networks at full size and
# twice it, and tries smaller step sizes for longer sequences, which need no training.
crops = {
    'train_dataloader.dataset.pipeline.3.crop_size': (360, 480),
    'train_dataloader.dataset.pipeline.2.ratio_range': (0.75, 2.0),
    'train_dataloader.batch_size': 2,
    'model.data_preprocessor.size': (360, 480)
}
columns = {'model.backbone.scan_axes': 'alternate'}
options = dict(
    labels={}, labels_crops=crops, labels_columns=columns,
    labels_columns_crops={**columns, **crops})
stages = [
    dict(name=name, config='configs/seg/fcn_adventurer-nano_camvid-360.py', iterations=600,
         options={'load_from': None, 'optim_wrapper.optimizer.lr': 3e-3, **more})
    for name, more in options.items()
]
