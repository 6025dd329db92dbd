# ImageNet-1K's training images without labels, 224x224; any folder of images will do:
#   --cfg-options data_root=FOLDER train_dataloader.dataset.data_prefix=''
#
# Large JPEG files are decoded at 1/2, 1/4 or 1/8 of their size where the crop stays larger than 224
# (draft=True), and OpenCV resizes: faster, and not quite the pixels of Pillow.
data_root = 'data/imagenet'
train_pipeline = [
    dict(type='mmvitlin.LoadCrop', scale=224, flip_prob=0.5, draft=True),
    dict(type='mmvitlin.MatrixColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
    dict(type='mmvitlin.PackImage'),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),  # one tensor for all images of a batch
    worker_init_fn=dict(type='mmvitlin.patient_worker'),
    sampler=dict(type='mmvitlin.SeededSampler', shuffle=True, salt=1),  # fine-tuning has 0
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        with_label=False,
        pipeline=train_pipeline))
