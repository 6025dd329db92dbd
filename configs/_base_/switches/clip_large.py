# a switch: segmentation or detection with the linear ViT-L that ViT-AdaLA made of CLIP-L
# (configs/distill/adala-feature_clip-large_in1k-448.py) instead of DINOv2-L's
model = dict(
    data_preprocessor=dict(mean=[122.7709, 116.7460, 104.0937], std=[68.5005, 66.6322, 70.3232]),
    backbone=dict(
        model_name='vit_large_patch14_clip_quickgelu_336.openai',
        init_cfg=dict(checkpoint='work_dirs/adala-feature_clip-large_in1k-448/student.pth')))
