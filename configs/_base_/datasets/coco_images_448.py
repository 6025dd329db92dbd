# COCO's training images without labels at 448x448: for attention alignment
_base_ = ['./imagenet_images_448.py']
data_root = 'data/coco'
train_dataloader = dict(
    batch_size=16, dataset=dict(data_root=data_root, data_prefix='train2017'))
