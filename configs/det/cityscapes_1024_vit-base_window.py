# Cityscapes' things: Mask R-CNN on CLIP ViT-B/16 in ViTDet's windows with four global blocks,
# without its relative positions
_base_ = ['./cityscapes_1024.py']
model = dict(
    data_preprocessor=dict(
        mean=[122.7709, 116.7460, 104.0937], std=[68.5005, 66.6322, 70.3232]),
    backbone=dict(
        _delete_=True,
        type='mmvitlin.TimmViT',
        model_name='vit_base_patch16_clip_quickgelu_224.openai',
        pretrained=True,
        attend_padding=True,
        attention='window',  # 14x14 patches, the last block of each quarter global
        softmax_layers=(2, 5, 8, 11),
        img_size=(1024, 2048),
        drop_path_rate=0.1))
