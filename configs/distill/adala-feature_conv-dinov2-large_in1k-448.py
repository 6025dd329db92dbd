# ViT-AdaLA, stage 2, of DINOv2-L into linear attention with a depthwise convolution on the values
# Published: the convolution on the values of linear attention: JetViT (CVPR 2026); stage 2 as in
#   adala-feature_dinov2-large_in1k-448.py.
# Ours: the two together.
_base_ = ['./adala-feature_dinov2-large_in1k-448.py']
model = dict(
    backbone=dict(
        linear_cfg=dict(conv_kernel=3),
        init_cfg=dict(
            checkpoint='work_dirs/adala-attention_conv-dinov2-large_coco-448/student.pth')))
