# images without labels for distillation: CamVid's training frames, and a folder of images of
# anything beside them (measured with 1,000 of ImageNet, one of each class)
crop_size = (168, 224)
crop_flip = [
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    # four views of each image, so that what the teacher makes of them can be kept; salt: other
    # batches than fine-tuning's
    worker_init_fn=dict(type='mmvitlin.patient_worker'),
    sampler=dict(type='mmvitlin.SeededInfiniteSampler', shuffle=True, salt=1, views=4),
    dataset=dict(
        type='ConcatDataset',
        ignore_keys=['classes', 'palette', 'label_map', 'reduce_zero_label'],
        datasets=[
            dict(
                type='mmvitlin.CamVidDataset',
                data_root='data/camvid',
                data_prefix=dict(img_path='images/train'),
                pipeline=[
                    dict(type='mmvitlin.LoadImage', keep_in_memory=True),
                    dict(type='RandomResize', scale=(224, 168), ratio_range=(1.0, 1.5),
                         keep_ratio=True),
                    *crop_flip,
                ]),
            dict(
                type='mmpretrain.CustomDataset',
                data_root='data/images',
                with_label=False,
                pipeline=[
                    dict(type='mmvitlin.LoadImage', keep_in_memory=True),
                    dict(type='mmpretrain.ResizeEdge', scale=224, edge='short'),
                    *crop_flip,
                ]),
        ]))
