# Cityscapes: UPerNet on the DINOv2-L that ViT-AdaLA gave linear attention with a depthwise
# convolution on the values
# Published: the convolution on the values of linear attention: JetViT (CVPR 2026); the rest as in
#   upernet_linear-vit-large_cityscapes-1024.py.
# Ours: the two together.
_base_ = ['./upernet_linear-vit-large_cityscapes-1024.py']
model = dict(
    backbone=dict(
        linear_cfg=dict(conv_kernel=3),
        init_cfg=dict(
            checkpoint='work_dirs/adala-feature_conv-dinov2-large_in1k-448/student.pth')))
